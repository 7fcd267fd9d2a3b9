"""A folded section for each case: settings, values, doubts, raw samples, files, and the command that measures it again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from modbench.harness.core.grouped import grouped
from modbench.harness.core.labels import of_cell
from modbench.harness.core.options import typed
from modbench.harness.domain.case import Case
from modbench.reports.model import Estimate, Listed, Sentence, Table, Value
from modbench.reports.panel import Panel
from modbench.reports.tables import findings
from modbench.reports.tables.load import Loaded, Row
from modbench.reports.tables.rerun_command import Again
from modbench.reports.tables.unit_files import Files
from modbench.reports.writers.html import fill, inline, written

# Cases up to which the page holds all, and how many it holds of more; numbers of raw samples of all of them together.
MOST_CASES, SOME_CASES, MOST_SAMPLES = 200, 100, 40_000
# Raw samples of a case by metric: its unit, whether by `launch` or `seed`, and for each its number and the samples by round.
Samples = dict[str, dict[str, Any]]
# Files of a case that are named, and doubts that are listed.
MOST_FILES, MOST_DOUBTS = 12, 6
HEAD = ("Metric", "Value [95 %]", "n", "Against the baseline [95 %]", "Remark")


def shown(loaded: Loaded) -> list[Case]:
    """Return the cases that the page holds: all, or of many those of the arms and lengths that figures show."""
    every = loaded.run.plan.cases
    if len(every) <= MOST_CASES:
        return every
    arms = {case.arm for case in (loaded.arms[0], *loaded.arms_shown)}
    lengths = set(loaded.lengths_shown)
    return [case for case in every if case.arm in arms and case.place.seq_len in lengths][:SOME_CASES]


def _values(loaded: Loaded, row: Row, pair: Row | None) -> list[Value]:
    value: Value = row.status
    if row.status == "ok":
        value = Estimate.of(row.value, row.ci_low, row.ci_high, unit=row.unit)
    against: Value = ""
    if pair is not None and pair.status == "ok":
        against = findings.of_pair(loaded, pair)
    reason = row.reason if isinstance(row.reason, str) else ""
    return [row.metric, value, "" if pd.isna(row.n) else int(row.n), against, reason]


def _settings(loaded: Loaded, case: Case) -> list[tuple[str, Value]]:
    place, suite = case.place, loaded.run.plan.suite
    differs = ", ".join(f"{key} = {value}" for key, value in json.loads(case.config_diff()).items() if key != "options")
    words = "{device}, threads: {threads}, {execution}" if place.device == "cpu" else "{device}, {execution}"
    runs_on = Sentence(words, device=place.device, threads=place.threads, execution=place.execution)
    said: list[tuple[str, Value]] = [
        ("Arm", case),
        ("Model", case.model),
        *([("Options", typed(dict(case.options)))] if case.options else []),
        ("Input", place),
        ("Runs on", runs_on),
        ("Parameters", loaded.tables.counted(case).params or "not counted"),
        ("Not default", differs or "nothing"),
        ("Protocol", f"{suite.effort}: {suite.launches_in_words}"),
    ]
    if case.task:
        said.append(("Task", case.task))
    return [*said, ("Training FLOPs", Estimate(case.budget, unit="FLOP"))] if case.budget else said


def _doubts(loaded: Loaded, case: Case, rows: Sequence[Row]) -> list[Value]:
    """Return labels and doubts, each with the metrics that it is about."""
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        for text in (
            *of_cell(row.labels),
            *loaded.tables.doubts_about(case, loaded.tables.metrics[row.metric]).values(),
        ):
            found.setdefault(text, {})[row.metric] = None
    return [Sentence("{doubt} ({metrics})", doubt=text, metrics=Listed([*metrics])) for text, metrics in found.items()]


def samples(loaded: Loaded, cases: Sequence[Case]) -> dict[int, Samples] | None:
    """Return the raw samples by the number of the case, rounded to six digits; None if they are too many for a page."""
    found: dict[int, Samples] = {}
    count = 0
    for number, case in enumerate(cases):
        for metric in loaded.tables.metrics.values():
            cell = loaded.tables.cells.get((case.id, metric.key))
            if cell is None or metric.source or loaded.tables.made_in(metric).samples == "one":
                continue
            column = loaded.tables.made_in(metric).column
            launches = [(n, _rounds(each.samples, column)) for n, each in cell.good().items()]
            count += sum(len(values) for _, rounds in launches for values in rounds)
            if count > MOST_SAMPLES:
                return None
            if sum(len(values) for _, rounds in launches for values in rounds) > 1:
                by = loaded.tables.made_in(metric).samples.removesuffix("es").removesuffix("s")  # launch or seed
                found.setdefault(number, {})[metric.key] = {"unit": metric.unit, "by": by, "launches": launches}
    return found


def _rounds(samples: dict[str, list[float]], column: str) -> list[list[float]]:
    """Samples of one launch, round by round."""
    values = samples[column]
    numbers = samples.get("round", [0.0] * len(values))
    return [*grouped(zip(numbers, (float(f"{value:.6g}") for value in values), strict=True)).values()]


def render(loaded: Loaded) -> Markup | None:
    """Show the sections, folded; a script draws the raw samples of one when it is unfolded."""
    cases = shown(loaded)
    if not cases:
        return None
    found = samples(loaded, cases)
    again, files = Again(loaded.run), Files(loaded.run, {case.id for case in cases})
    beside = {(row.case_id, row.metric): row for row in loaded.comparisons.itertuples(index=False)}
    rows = grouped((str(row.case_id), row) for row in loaded.cases.itertuples(index=False))
    made = []
    for number, case in enumerate(cases):
        mine = rows.get(case.id, [])
        values = [_values(loaded, row, beside.get((row.case_id, row.metric))) for row in mine]
        section = {
            "number": number,
            "id": case.id,
            "settings": [(term, inline(value)) for term, value in _settings(loaded, case)],
            "numbers": written([Table(f"Values of {case.id}", HEAD, values)]),
            "raw": found is not None and number in found,
        }
        paths = [*files.records(case.id), *files.logs(case.id)]
        made.append(
            section | backing(_doubts(loaded, case, mine), paths, *again.if_any([case]), most_doubts=MOST_DOUBTS)
        )
    # In a script element only `<` can end it: as an escape it is the same JSON.
    data = json.dumps(found, separators=(",", ":")).replace("<", "\\u003c") if found else ""
    left_out = len(loaded.run.plan.cases) - len(cases)
    return fill(
        "every_case",
        sections=made,
        samples=Markup(data),  # noqa: S704  # JSON without `<`
        left_out=inline(left_out) if left_out else None,
    )


def backing(
    doubts: Sequence[Value], files: Sequence[str], command: str | None, no_command: str, *, most_doubts: int
) -> dict[str, object]:
    """Return what a card says below its numbers: what to doubt, the command that measures them again, or why none does, files."""
    return {
        "doubts": list(map(inline, doubts[:most_doubts])),
        "more_doubts": len(doubts) - most_doubts,
        "command": command,
        "no_command": no_command,
        "files": files[:MOST_FILES],
        "more_files": len(files) - MOST_FILES,
    }


READING = (
    "Unfold a case to see what it was, each of its values with its interval, and its ratio to the anchor. Below them are "
    "the raw samples, launch by launch: where a launch lies apart from the others, something else happened during it. The "
    "command measures this case again, with its anchor and nothing else."
)

PANEL = Panel(title="Every case", order=73, span=12, render=render, folded=True, printed=False, reading=READING)
