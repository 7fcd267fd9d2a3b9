"""The run in a terminal: what will be measured, the results, what failed, where the report is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from modbench.harness.core.units import counted, human_duration
from modbench.harness.domain.case import Case
from modbench.harness.domain.evidence import ProcessCount
from modbench.harness.planning import suite_tables
from modbench.harness.planning.plan import Plan
from modbench.reports.blocks import Estimate, Listed, Sentence, Table, Value, where_it_ran
from modbench.reports.markup import data, text
from modbench.reports.markup.number_format import plain
from modbench.reports.markup.short import BETTER_WORSE, SPEED_UPS, VERDICTS, explained
from modbench.reports.markup.text import wrapped
from modbench.reports.questions import summary, user_models, value_tables
from modbench.reports.questions.machine_check import machine_check, warnings
from modbench.reports.section import InPlace, in_place, more_data, sections, shared_blocks
from modbench.reports.sections import break_even
from modbench.reports.sections.failures_and_warnings import failure_sentences
from modbench.reports.tables import best_variants, job_files
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.values import HELD_OUT
from modbench.reports.wording import name

# Reasons of failures and of models that were skipped, and doubts, at most; the others are counted.
MOST_TROUBLES, MOST_DOUBTS = 4, 3
# Lines up to which there are empty ones between the parts.
MOST_LINES = 38
# Letters in front of what stands below the tables: `sure`, `doubt`, `report`.
INDENT = 9
MORE = "-v: all tables"


def opening(plan: Plan) -> str:
    """Return what is printed before anything runs: the plan, and what tables of plug-ins say of it."""
    suite = plan.suite
    least = sum(not job.rule for job in plan.jobs)
    most = round(sum(plan.shares("most").values()))
    where = plan.device + f", {counted(suite.threads, 'thread')}" * (plan.device == "cpu")
    dtypes = "/".join(suite.grid.dtype) + ", compiled" * suite.compile
    words = "{suite}: {cases:case} in " + "{least} to " * (least < most) + "{most:job} on {how}"
    how = f"{where}, {dtypes}; {suite.effort}: {suite.processes_in_words}"
    line = Sentence(words, suite=suite.name, cases=len(plan.cases), least=least, most=max(least, most), how=how)
    more: list[Value] = [best_variants.sentence(plan.variants_from)] if plan.variants_from else []
    more += [f"{variant} has no matched baseline: {why}" for variant, why in plan.no_matches.items()]
    for table in suite_tables.in_use(suite):
        more += table.forecast_in_words(table.forecast(suite, plan.comparisons))
    return "\n".join([plain(line), *wrapped(more, text.width())])


def closing(loaded: Loaded, page: Path | str, wall_s: float | None, *, verbose: bool = False, more: str = MORE) -> str:
    """Return what a run ends with: warnings and failures, the answer, tables, how sure, what to doubt, and the report's path.

    Args:
        loaded: the run.
        page: its report, or what to say in its place.
        wall_s: how long it took in s; None: not said.
        verbose: whether all tables and doubts are printed, not those alone that answer what was asked.
        more: how to have all of them, where they are not.
    """
    width = text.width()
    # Before anything that they are about.
    blocks = [wrapped([Sentence("⚠ {said}", said=each)], width) for each in reversed(warnings(loaded))]
    blocks += [troubles(loaded), *(_measured(loaded, width, wall_s, verbose=verbose) if loaded.measured else ())]
    blocks = [block for block in blocks if block]
    apart = verbose or sum(len(block) + 1 for block in blocks) <= MOST_LINES
    said = ("\n\n" if apart else "\n").join("\n".join(block) for block in blocks)
    hint = f"        ({more})" * bool(more and not verbose and loaded.measured)
    return f"{said}\n{'report':{INDENT}}{page}{hint}".lstrip("\n")


def _measured(loaded: Loaded, width: int, wall_s: float | None, *, verbose: bool) -> Iterator[list[str]]:
    """Yield what was run, the answer, the tables, and below them what their marks mean, how sure it is, and what to doubt."""
    told = summary.head(loaded)
    yield wrapped([_first_line(loaded, wall_s)], width)
    yield wrapped(told.answer, width)
    first = [table for _, section in sections() if (table := section.lead.table(loaded))]
    yield from (text.table(table, width) for table in first)
    here = _in_place(loaded, every=verbose)
    named = here.tables if loaded.alone else [_naming_baseline(each, loaded.baseline) for each in here.tables]
    shown = [text.table(each, width) for each in named]
    yield from shown
    yield _others(loaded, width, here, every=verbose)
    yield from _more(loaded, width, [*first, *here.tables]) if verbose else ()
    said = [
        *explained([line for lines in shown for line in lines], *_says(loaded, here), loaded.suite.margin),
        *here.notes,
    ]
    below = wrapped([Listed(said, " · ")] if said else [], width)
    below += wrapped(filter(None, [summary.left_out(loaded)]), width)
    most = len(told.doubts) if verbose else MOST_DOUBTS
    left = len(told.doubts) - most
    doubts = [*told.doubts[:most], *[f"{left} more: -v"] * (left > 0)]
    sure = [("sure", told.sure)] if told.sure else []
    yield [*below, *text.labelled([*sure, *[("doubt", Listed(doubts, " · "))] * bool(doubts)], width, INDENT)]


def _in_place(loaded: Loaded, *, every: bool) -> InPlace:
    """Return the tables of times, or what a section has in their place.

    Of everything else too if that is wanted, or where nothing was timed or compared.
    """
    if found := in_place(loaded):
        return replace(found, notes=[*(note for each in found.tables for note in each.notes), *found.notes])
    timed, pays = value_tables.TIMES.intersection(loaded.suite.metrics), break_even.table(loaded)
    whole = every or not timed or loaded.alone
    made = value_tables.with_losses(loaded, settings=1) if whole else value_tables.tables(loaded, timed, settings=1)
    tables, notes = ([*made, pays], pays.notes) if pays else (made, ())
    return InPlace(tables, name(loaded.baseline), loaded.shown, frozenset(), notes=notes)


def _says(loaded: Loaded, here: InPlace) -> tuple[str, str]:
    """What explains ratios and verdicts: other words where the tables of times have something in their place."""
    same = here.baseline == name(loaded.baseline)
    ratios = SPEED_UPS if same and not here.words else f"ratio to {here.baseline} ± half its 95 % CI"
    return ratios, BETTER_WORSE if here.words else VERDICTS


def _first_line(loaded: Loaded, wall_s: float | None) -> Sentence:
    """Name the run: `quick on Intel Xeon, fp32, 1 thread · 7 processes × 2 rounds · 4 min 47 s`."""
    said: list[Value] = [summary.title(loaded)]
    said += [loaded.suite.processes_in_words] * bool(value_tables.TIMES.intersection(loaded.suite.metrics))
    anchor = loaded.plan.comparisons[0].variants[0]
    if loaded.baseline.variant == anchor.variant and user_models.settings_of(loaded, anchor):
        said.append(Sentence("baseline {variant}, the first setting (report --baseline)", variant=anchor))
    said += [] if wall_s is None else [human_duration(wall_s)]
    return Sentence("{said}", said=Listed(said, " · "))


def _naming_baseline(made: Table, baseline: Case) -> Table:
    """Mark the row of the baseline."""
    own = Sentence("{variant} (baseline)", variant=baseline)
    return replace(made, rows=[[own if row[0] == baseline else row[0], *row[1:]] for row in made.rows])


def troubles(loaded: Loaded) -> list[str]:
    """Name models that were skipped as a whole, and what failed, each with the reason: as many as fit above the answer."""
    failed = [job_files.in_run_folder(plain(each), loaded.path) for each in failure_sentences(loaded)]
    said = [*_skipped(loaded), *(f"failed: {each}" for each in failed)]
    left = [Sentence("and {n} more: cases.csv has the reason of each", n=len(said) - MOST_TROUBLES)]
    return wrapped([*said[:MOST_TROUBLES], *left * (len(said) > MOST_TROUBLES)], text.width())


def _skipped(loaded: Loaded) -> list[str]:
    """Name the models that were skipped as a whole, once for each reason: those that have rows but were measured in none."""
    rows = [(case, loaded.cases[loaded.cases.variant == case.variant]) for case in loaded.variants]
    return [
        f"skipped: {name(case)} ({reason})"
        for case, mine in rows
        if not mine.empty and (mine.status == "skipped").all()
        for reason in dict.fromkeys(mine.reason.dropna())
    ]


def _others(loaded: Loaded, width: int, above: InPlace, *, every: bool) -> list[str]:
    """Return values of requested metrics that the tables above lack; those that all variants share only if they are wanted."""
    shown = {*value_tables.TABLES, "flops/train_step", *HELD_OUT, *above.metrics}
    asked = [key for key in loaded.suite.metrics if key not in shown and not loaded.tables.metrics[key].planned_by]
    length = loaded.lengths[-1] if loaded.lengths else None
    columns = {metric: [_value(loaded, case, metric, length) for case in above.variants] for metric in asked}
    every |= len(above.variants) == 1
    columns = {metric: cells for metric, cells in columns.items() if every or len({*cells}) > 1}
    if not columns:
        return []
    wanted = (each.grid_point for each in loaded.plan.comparisons if {*asked} & {*each.metrics})
    here = [each for each in wanted if each.seq_len == length]
    head = Sentence("values at {grid_point}", grid_point=where_it_ran(here[0], here) if here else "")
    made = Table("values", (head, *columns), [*zip(above.variants, *columns.values(), strict=True)])
    skipped = loaded.cases[(loaded.cases.seq_len == length) & (loaded.cases.status == "skipped")]
    why = skipped[skipped.metric.isin(columns)].drop_duplicates("metric")
    reasons = [f"– {row.metric}: {row.reason}" for row in why.itertuples()]
    return [*text.table(made, width), *wrapped(reasons, width)]


def _more(loaded: Loaded, width: int, above: Sequence[Table]) -> Iterator[list[str]]:
    """Yield what sections have to share, but for the tables that stand above."""
    for _, section in sections():
        yield from (text.splitlines() for text in section.lead.more(loaded, width))
    labels = {each.label for each in above}
    for block in (each for each in shared_blocks(loaded) if not (isinstance(each, Table) and each.label in labels)):
        notes = block.notes if isinstance(block, Table) else ()
        yield [*text.written([block], width).splitlines(), *wrapped(notes, width)]


def _value(loaded: Loaded, case: Case, metric: str, length: int | None) -> Value:
    row = loaded.case(case.variant, metric, length)
    if row is None:
        return ""
    if row.status != "ok":
        return "failed" if row.status == "failed" else None
    return Estimate(float(row.value), unit=str(row.unit))


def as_json(loaded: Loaded, page: Path, wall_s: float | None) -> dict[str, Any]:
    """Return the results as JSON values: comparisons as rows, null where there is no value."""
    counts = loaded.run.found(ProcessCount).items()
    return {
        "run": str(loaded.path),
        "report": str(page),
        "wall_s": wall_s,
        "measured": loaded.measured,
        "device": loaded.plan.device,
        "machine_check": plain(machine_check(loaded)[1]),
        "failed": sorted(set(loaded.failed.case_id)),
        "missing_jobs": loaded.run.missing,
        "processes": [{"series": series, **found.model_dump(), "capped": found.capped} for series, found in counts],
        **more_data(loaded),
        "best_settings": [each.model_dump() for each in user_models.best_settings(loaded)],
        "comparisons": data.rows(loaded.comparisons),
    }
