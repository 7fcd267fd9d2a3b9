"""The run in a terminal: what will be measured, the results, what failed, where the report is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from modbench.harness.core.grouped import grouped
from modbench.harness.core.labels import Label
from modbench.harness.core.printable import SCREEN
from modbench.harness.core.units import human_duration
from modbench.harness.domain.case import Case
from modbench.harness.domain.evidence import LaunchCount
from modbench.harness.planning.plan import Plan
from modbench.reports.model import Estimate, Listed, Sentence, Table, Value
from modbench.reports.panel import InPlace, panels, shared_blocks
from modbench.reports.panels import pays_from as pays_question
from modbench.reports.questions import audit, best_setting, first_screen, results
from modbench.reports.questions.first_screen import place_shown
from modbench.reports.questions.machine import machine_check, warnings
from modbench.reports.tables import best_arms, unit_files
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.outcomes import HELD_OUT
from modbench.reports.tables.solved import decidable_in_words
from modbench.reports.terminal import audit as audit_text
from modbench.reports.wording import name
from modbench.reports.writers import data, text
from modbench.reports.writers.number_format import grid_point, percent, plain
from modbench.reports.writers.text import joined, wrapped

# Failed cases and skipped models that are named, and reasons where what repeats is counted.
MOST_FAILED, MOST_REASONS = 24, 4
# Sentences of the answer that stand behind each other; of more each begins a line.
MOST_IN_A_ROW = 2
# Lines of doubts at most.
MOST_DOUBTS = 3
# Lines of a run that does not fit on a screen without empty ones, as where cases failed.
MOST_LINES = 46


def opening(plan: Plan) -> str:
    """Return what is printed before anything runs: the plan, and what its seeds can decide on tasks."""
    suite = plan.suite
    cases, least = len(plan.cases), sum(not unit.rule for unit in plan.units)
    most = round(sum(plan.shares("most").values()))
    line = Sentence(
        "{suite}: {cases:case} in "
        + "{least} to " * (least < most)
        + "{most:unit} on {device}"
        + ", {threads:thread}" * (plan.device == "cpu")
        + ", {dtypes}; {effort}: {launches}",
        suite=suite.name,
        cases=cases,
        least=least,
        most=max(least, most),
        device=plan.device,
        threads=suite.threads,
        dtypes="/".join(suite.grid.dtype) + ", compiled" * suite.compile,
        effort=suite.effort,
        launches=suite.launches_in_words,
    )
    more: list[Value] = [best_arms.sentence(plan.arms_from)] if plan.arms_from else []
    more += [f"{arm} has no dense model of equal cost beside it: {why}" for arm, why in plan.no_rivals.items()]
    return "\n".join([plain(line), *wrapped([*more, *filter(None, [decidable_in_words(plan)])], text.width())])


def closing(
    loaded: Loaded, page: Path | str, wall_s: float | None, *, verbose: bool = False, more: str = "-v: all"
) -> str:
    """Return what a run ends with: warnings and failures, the answer, tables, how sure, what to doubt, and the report's path.

    Args:
        loaded: the run.
        page: its report, or what to say in its place.
        wall_s: how long it took in s; None: not said.
        verbose: whether all tables and sentences are printed, not those alone that answer what was asked.
        more: how to have all of them, where they are not.
    """
    width = text.width()
    # Before anything that they are about.
    before = [wrapped([Sentence("⚠ {said}", said=each)], width) for each in reversed(warnings(loaded))]
    before = [block for block in (*before, troubles(loaded, verbose=verbose)) if block]
    after = [block for block in _measured(loaded, width, verbose=verbose) if block] if loaded.measured else []
    behind = [] if wall_s is None else [human_duration(wall_s)]
    behind += [] if verbose or not more or not loaded.measured else [more]
    took = f" ({'; '.join(behind)})" if behind else ""
    blocks = [*before, *after]
    glued = set() if verbose else _glued([len(block) for block in blocks], len(before))
    said = "".join(
        "\n" * ((at > 0) + (at > 0 and at not in glued)) + "\n".join(map(str.rstrip, block)).strip("\n")
        for at, block in enumerate(blocks)
    )
    return f"{said}\nreport: {page}{took}".lstrip("\n")


def _glued(lengths: Sequence[int], head: int) -> set[int]:
    """Return the blocks that follow the one before without an empty line: as few as make everything fit on a screen.

    The last come first, then the answer and the first table, then what stands above them. Where a screen does not suffice,
    `MOST_LINES` may; none where they do not either.

    Args:
        lengths: lines of each block.
        head: which block names the run; the answer and the tables follow.
    """
    now = sum(lengths) + len(lengths)  # the report's line, and an empty one before each block but the first
    may = [*range(len(lengths) - 1, head + 2, -1), head + 1, head + 2, *range(head, 0, -1)]
    over = next((now - most for most in (SCREEN, MOST_LINES) if now - most <= len(may)), 0)
    return set(may[: max(0, over)])


def _measured(loaded: Loaded, width: int, *, verbose: bool) -> Iterator[list[str]]:
    """Yield the answer, the tables, what their marks mean, how sure it is, and what to doubt."""
    suite, told = loaded.suite, first_screen.head(loaded) if verbose else None
    launches = f": {suite.launches_in_words}" if results.TIMES.intersection(suite.metrics) else ""
    yield wrapped([f"{suite.name} on {first_screen.measured_on(loaded)}{launches}{_first_of_several(loaded)}"], width)
    answer = first_screen.answer(loaded)
    in_a_row = 0 < len(answer) <= MOST_IN_A_ROW and not loaded.generates_only
    yield wrapped([Listed(answer, " ")] if in_a_row else answer, width)
    leads = [panel.lead for _, panel in panels()]
    tables = [(table, lead.above) for lead in leads if (table := lead.table(loaded))]
    yield from (text.table(table, width) for table, above in tables if above)
    swept = next(filter(None, (lead.in_place(loaded) for lead in leads)), None)
    pays = None if swept else pays_question.table(loaded)
    if swept:
        shown = [[*text.table(each, width), "", *wrapped(each.notes, width)] for each in swept.tables]
    else:
        shown = [text.table(each, width) for each in (*_tables(loaded, every=verbose), *([pays] if pays else []))]
    yield from shown
    yield from (text.table(table, width) for table, above in tables if not above)
    yield from _others(loaded, width, swept, every=verbose)
    yield from _more(loaded, width) if verbose else ()
    hidden = () if loaded.generates_only else place_shown(loaded)  # tables of generation have all batch sizes
    for sentence in told.details if told and not swept else () if swept else hidden:
        yield wrapped([sentence], width)
    meanings = [*map(plain, swept.notes if swept else pays.notes if pays else ())]
    legend = _legend(loaded, [line for lines in shown for line in lines], meanings, width, swept)
    if told:
        yield legend
        for title, those in told.evidence:
            yield wrapped([Sentence(f"{title}: {{said}}", said=Listed(those, " "))], width)
        yield _spent(loaded, width)
    else:
        sure = first_screen.sure_in_short(loaded)
        said = [Sentence("sure: {said}", said=sure)] if sure else []
        yield [*legend, *wrapped(said, width), *_doubts(loaded, width, losses=pays is not None)]


def _first_of_several(loaded: Loaded) -> str:
    """Name the baseline where it is only the first of several settings of a user's model, which nobody chose."""
    anchor = loaded.plan.comparisons[0].arms[0]
    if loaded.baseline.arm != anchor.arm or not best_setting.settings_of(loaded, anchor):
        return ""
    return f"; baseline: {name(anchor)}, the first setting (report --baseline ARM takes another)"


def _tables(loaded: Loaded, *, every: bool) -> list[Table]:
    """Return the tables of times; of everything else too if that is wanted, or where nothing was timed or compared."""
    asked = loaded.suite.metrics
    timed = results.TIMES.intersection(asked)
    if every or not timed or loaded.alone:
        return results.with_losses(loaded, settings=1)
    return results.tables(loaded, timed, settings=1)


def _doubts(loaded: Loaded, width: int, *, losses: bool) -> list[str]:
    """Say what to doubt in a few lines, what weighs most first; the others are counted.

    Args:
        loaded: the run.
        width: of a line.
        losses: whether a table above says how many seeds losses are from.
    """
    said = first_screen.doubts_in_short(loaded, losses=losses)
    lines = list[str]()
    for kept in range(len(said), 0, -1):
        more = [f"({len(said) - kept} more: -v)"] if kept < len(said) else []
        lines = wrapped([Sentence("doubt: {said}", said=Listed([*said[:kept], *more], " "))], width)
        if len(lines) <= MOST_DOUBTS:
            break
    return lines


def _legend(loaded: Loaded, lines: Sequence[str], more: Sequence[str], width: int, swept: InPlace | None) -> list[str]:
    """Explain the marks that occur in the tables, and against what ratios are."""
    if not loaded.arms:
        return []
    anchor = loaded.baseline
    readers = {case.arm for case in loaded.labelled.get(Label.NOT_AUTOREGRESSIVE, [])}
    who = f"{name(anchor)}, or both sides, " if anchor.arm in readers else ""
    against, words = (swept.baseline, swept.words) if swept else (name(anchor), {})
    parts, said = text.legend(lines, against, readers=who, words=words)
    short = [each for each in said if each == text.BY_CPU_MEANS]
    return [*joined([*parts, *more, *short], width), *wrapped([each for each in said if each not in short], width)]


def troubles(loaded: Loaded, *, verbose: bool = True) -> list[str]:
    """Name models that were skipped as a whole, and cases that failed, each with the reason; in short one of each reason."""
    width = text.width()
    return [*_skipped(loaded, width), *_failures(loaded, width, each=verbose)]


def _skipped(loaded: Loaded, width: int) -> list[str]:
    """Name the models that were skipped as a whole, once for each reason: those that have rows but were measured in none of them.

    An arm that lacks single metrics is not among them: it has other values, and those metrics have their reasons beside them.
    """
    rows = [(case, loaded.cases[loaded.cases.arm == case.arm]) for case in loaded.arms]
    said = [
        f"skipped: {name(case)} ({reason})"
        for case, mine in rows
        if not mine.empty and (mine.status == "skipped").all()
        for reason in dict.fromkeys(mine.reason.dropna())
    ]
    lines = wrapped(said[:MOST_FAILED], width)
    if len(said) > MOST_FAILED:
        more = Sentence("and {n} more were skipped: cases.csv has the reason of each", n=len(said) - MOST_FAILED)
        lines.append(plain(more))
    return lines


def _failures(loaded: Loaded, width: int, *, each: bool) -> list[str]:
    """Name the cases that failed, with the reason and the log: each, or the first of those with the same reason and metrics."""
    known = unit_files.logs(loaded.run)
    alike = grouped(
        ((str(case) * each, str(rows.reason.iloc[0]), *rows.metric), str(case))
        for case, rows in loaded.failed.groupby("case_id", sort=False)
    )
    most, lines = MOST_FAILED if each else MOST_REASONS, list[str]()
    for (_, reason, *metrics), (first, *others) in list(alike.items())[:most]:
        said = unit_files.in_run_folder(f"{reason}{unit_files.beside(reason, known, first, metrics)}", loaded.path)
        more = f" and {len(others)} more" * bool(others)
        lines += wrapped([f"failed: {first}{more}: {said} ({', '.join(metrics)})"], width)
    left = sum(map(len, list(alike.values())[most:]))
    if left:
        lines.append(plain(Sentence("and {n} more cases failed: cases.csv has the reason of each", n=left)))
    return lines


def _spent(loaded: Loaded, width: int) -> list[str]:
    """Say what share of the time went into measuring, and how busy this process was beside it."""
    facts = []
    if loaded.inside is not None:
        facts.append(f"{percent(loaded.inside)} of the wall time inside measured or trained work")
    if loaded.parent_share is not None:
        facts.append(f"this process beside timed ones: {percent(loaded.parent_share)} of a core")
    return wrapped(["; ".join(facts)], width) if facts else []


def _others(loaded: Loaded, width: int, swept: InPlace | None, *, every: bool) -> Iterator[list[str]]:
    """Yield values of requested metrics that the tables above lack, as many as fit in the width; equal ones only if wanted."""
    if not loaded.lengths:
        return
    length = loaded.lengths[-1]
    shown = {*results.TABLES, "flops/train_step", *HELD_OUT}
    known = loaded.tables.metrics
    shown |= swept.metrics if swept else set()
    left = [metric for metric in loaded.suite.metrics if metric not in shown and not known[metric].task]
    arms = swept.arms if swept else loaded.shown
    head, rows = f"values at {grid_point('T', length)}{_batch(loaded, left, length)}", [[case] for case in arms]
    values = {metric: [_value(loaded, case, metric, length) for case in arms] for metric in left}
    alike = [key for key, (first, *others) in values.items() if others and first and {*others} == {first}]
    if alike and every:
        said = [Sentence(f"{key} {{value}}", value=values[key][0]) for key in alike]
        yield wrapped([Sentence("{where}, of every arm: {said}", where=head, said=Listed(said))], width)
    left = [metric for metric in left if metric not in alike]
    made, kept = Table("values", (head,), rows), 0
    for metric in left:
        cells = [[*row, value] for row, value in zip(made.rows, values[metric], strict=True)]
        wider = Table("values", (*made.head, metric), cells)
        if kept and len(text.table(wider, 10**6)[0]) > width:
            break
        made, kept = wider, kept + 1
    if not kept:
        return
    rest = [f"and {', '.join(left[kept:])}: in cases.csv"] if left[kept:] else []
    found = loaded.cases[(loaded.cases.seq_len == length) & (loaded.cases.status == "skipped")]
    for metric in left[:kept]:
        rest += [f"– {metric}: {reason}" for reason in found[found.metric == metric].reason.unique()[:1]]
    yield [*text.table(made, width), *wrapped(rest, width)]


def _batch(loaded: Loaded, metrics: Sequence[str], length: int) -> str:
    """Name the batch size whose values `Loaded.case` gives, where several were measured at this length: `, B = 1`."""
    found = loaded.cases[(loaded.cases.seq_len == length) & loaded.cases.metric.isin(metrics)]
    if found.batch_size.nunique() < 2:
        return ""
    first = dict.fromkeys(found.drop_duplicates(["arm", "metric"]).batch_size)
    return f", B = {'/'.join(str(each) for each in sorted(first))}"


def _more(loaded: Loaded, width: int) -> Iterator[list[str]]:
    """Yield what panels have to share."""
    for card in audit.cards(loaded).values():
        yield audit_text.card(card, width).splitlines()
    for block in shared_blocks(loaded, but="pays_from"):  # which stands there without `-v` too
        notes = block.notes if isinstance(block, Table) else ()
        yield [*text.written([block], width).splitlines(), *wrapped(notes, width)]


def _value(loaded: Loaded, case: Case, metric: str, length: int) -> Value:
    row = loaded.case(case.arm, metric, length)
    if row is None:
        return ""
    if row.status != "ok":
        return "failed" if row.status == "failed" else None
    return Estimate(float(row.value), unit=str(row.unit))


def as_json(loaded: Loaded, page: Path, wall_s: float | None) -> dict[str, Any]:
    """Return the results as JSON values: comparisons as rows, null where there is no value."""
    return {
        "run": str(loaded.path),
        "report": str(page),
        "wall_s": wall_s,
        "measured": loaded.measured,
        "device": loaded.plan.device,
        "machine_check": plain(machine_check(loaded)[1]),
        "failed": sorted(set(loaded.failed.case_id)),
        "missing_units": loaded.run.missing,
        "launches": [
            {"series": series, **found.model_dump(), "capped": found.capped}
            for series, found in loaded.run.found(LaunchCount).items()
        ],
        "audits": {arm: each.model_dump(mode="json") for arm, each in audit_text.by_arm(loaded).items()},
        "best_settings": best_setting.rows(loaded),
        "comparisons": data.rows(loaded.comparisons),
    }
