"""What stands behind the summary: each of its comparisons with its file of raw samples, and the command that measures them again.

Below them stands what the audits of the run found of the user's models, as on the page of `modbench audit`.
"""

from __future__ import annotations

from collections.abc import Iterator

from markupsafe import Markup

from modbench.harness.domain.case import Case
from modbench.reports.model import Block, Code, Finding, Listed, Sentence, Table, Value
from modbench.reports.panel import Panel
from modbench.reports.questions import audit, win_rate
from modbench.reports.questions.best_setting import first_arm
from modbench.reports.tables.load import Loaded, rung_beside
from modbench.reports.tables.rerun_command import Again
from modbench.reports.tables.unit_files import Files
from modbench.reports.wording import WORKLOADS, verdict_words
from modbench.reports.writers.html import fill, inline, written

MOST_ROWS = 24
HEAD = ("variant", "over", "time", "at", "speed-up [95 % CI]", "verdict", "raw samples")


def compared(loaded: Loaded) -> list[tuple[Case, Case]]:
    """Return the pairs that the summary compares: the arm shown first with dense of equal cost, and with the baseline."""
    first = None if loaded.sizes_differ else first_arm(loaded)
    if first is None:
        return []
    beside = rung_beside(loaded, first)
    others = {case.arm: case for case in ([beside.case] if beside else []) + [loaded.baseline]}
    return [(first, case) for case in others.values() if case.arm != first.arm]


def numbers(loaded: Loaded) -> Iterator[Table | Sentence]:
    """Yield the comparisons of the summary, and the command that measures them again, or why there is none."""
    pairs = compared(loaded)
    found = [each for pair in pairs for each in win_rate.places(loaded, *pair) if each.typical.value is not None]
    if not found:
        return
    files = Files(loaded.run, {each.case.id for each in found})
    rows = [_row(loaded, each, files) for each in found]
    yield Table("Numbers behind the summary", HEAD, rows, file="comparisons.csv").first(MOST_ROWS)
    cases = {case.id: case for each in found for case in (each.case, each.against) if isinstance(case, Case)}
    anchors = {comparison.arms[0].id for comparison in loaded.plan.comparisons}  # measured again in any case
    wanted = [case for case in cases.values() if case.id not in anchors] or [*cases.values()]
    command, why = Again(loaded.run).if_any(wanted, ",".join(dict.fromkeys(each.metric for each in found)))
    yield Sentence("Measure them again: {command}", command=Code(command)) if command else Sentence(why)


def _row(loaded: Loaded, found: Finding, files: Files) -> list[Value]:
    group = loaded.tables.source(loaded.tables.metrics[found.metric]).group
    raw = Listed([*map(Code, files.records(found.case.id, group))])
    against = found.against if isinstance(found.against, Case) else None
    return [
        *(found.case, against, WORKLOADS[found.metric], found.place),
        *(found.typical, verdict_words(found.verdict), raw),
    ]


def render(loaded: Loaded) -> Iterator[Block | Markup]:
    """Show the numbers; below them the audit reports of models, and why others have none."""
    yield from numbers(loaded)
    cards = [
        {"answer": inline(audit.answer(card)), "found": written(audit.blocks(card))}
        for card in audit.cards(loaded).values()
    ]
    yield from [fill("model_cards", cards=cards)] if cards else []
    yield from audit.failures(loaded)


READING = (
    "Raw samples lie in the run's folder. The command measures just these comparisons, on your machine: it need not give the "
    "same numbers."
)

PANEL = Panel(title="What stands behind the summary?", order=12, span=12, render=render, reading=READING)
