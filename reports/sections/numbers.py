"""All numbers of a run: those of a model that was measured alone, every comparison, and every case with what stands behind it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup

from modbench.harness.core.group_by import grouped
from modbench.harness.core.labels import of_cell
from modbench.harness.core.model_specs import typed
from modbench.harness.domain.case import Case
from modbench.harness.machine.roofline.table import RATIO_ERROR
from modbench.reports.blocks import (
    Block,
    Code,
    Estimate,
    Finding,
    Kind,
    Listed,
    Note,
    Sentence,
    Table,
    Value,
    known_text,
    pivot,
)
from modbench.reports.markup.html import fill, inline, written
from modbench.reports.questions.summary import NOTHING_COMPARED
from modbench.reports.section import Section
from modbench.reports.tables import losses, pairs
from modbench.reports.tables.job_files import Files
from modbench.reports.tables.load import Loaded, Row
from modbench.reports.tables.rerun_command import Again
from modbench.reports.wording import verdict_words

PREDICTED = Sentence("Predicted ±{error}", error=Estimate(RATIO_ERROR, kind="share"))


def numbers_alone(loaded: Loaded) -> Iterator[Block]:
    """Show a row for each metric and a column for each length; nothing for a run that compares, or measured nothing."""
    if not loaded.alone or not loaded.measured:
        return
    (case,) = loaded.variants
    rows = loaded.cases[loaded.cases.variant == case.variant]
    kept = {*loaded.lengths_shown, *rows[rows.workload == "train"].seq_len}
    lengths = [length for length in sorted(set(rows.seq_len)) if length in kept]
    cells = (
        (metric, "", Sentence("T = {T}", T=length), _reported(loaded, loaded.case(case.variant, metric, length)))
        for metric in rows.metric.unique()
        for length in lengths
    )
    yield pivot("Numbers of the model", cells, "Metric")
    words = "One model was measured: {why}. For a baseline name a second {model}, such as {dense}, or leave out {only}."
    model, dense, only = map(Code, ("--model", "--model dense", "--only"))
    yield Note(Sentence(words, why=NOTHING_COMPARED, model=model, dense=dense, only=only))
    untold = rows[rows.status.isin(["skipped", "failed"])].itertuples(index=False)
    reasons = dict.fromkeys((str(row.metric), str(row.reason)) for row in untold)
    yield from (Note(Sentence("{metric}: {reason}", metric=metric, reason=reason)) for metric, reason in reasons)


def _reported(loaded: Loaded, row: Row | None) -> Value:
    """A value with its interval; empty where the metric is not measured at that length."""
    if row is None:
        return ""
    if row.status != "ok":
        return "failed" if row.status == "failed" else "not reported"
    return losses.as_shown(loaded, Estimate.of(row.value, row.ci_low, row.ci_high, unit=str(row.unit)))


NUMBERS = Section(
    title="What does it take?",
    order=9,
    span=12,
    render=numbers_alone,
    reading=(
        "One row for each metric, one column for each length: the value, and in brackets its 95 % interval over "
        "processes or seeds. Counts and peaks of memory have none. Lower is better, but for rates. These numbers "
        "hold for this machine alone: to say whether a model is fast, run it beside another one."
    ),
)
"""The numbers of a model that was measured alone, by metric and length."""


class Pair(NamedTuple):
    """A row of the table: of `comparisons.csv`, what it says, the values of both sides, and the case's section of the report."""

    row: Row
    found: Finding
    value: float | None
    base: float | None
    section: str

    def number(self, column: str, kind: Kind) -> Estimate:
        """Return the number in a column."""
        return Estimate.of(getattr(self.row, column), kind=kind, unit=self.row.unit if kind == "difference" else "")

    def verdict(self) -> str:
        """Return the verdict in words, or why there is none."""
        found = self.found
        return verdict_words(found.verdict, timed=self.row.unit == "s") if found.status == "ok" else found.status

    def remark(self) -> Listed:
        """Return the reason, then the labels of both sides."""
        found, others = self.found, (f"baseline: {label}" for label in self.found.against_labels)
        return Listed([*[found.reason] * bool(found.reason), *found.labels, *others], "; ")


# Title, the columns of `comparisons.csv` (of values: `cases.csv`) that a cell holds, and the cell.
PAIR_COLUMNS: tuple[tuple[Value, str, Callable[[Pair], Value]], ...] = (
    ("Case", "case_id", lambda pair: Code(pair.row.case_id, pair.section)),
    ("Metric", "metric", lambda pair: pair.row.metric),
    ("Value", "value", lambda pair: Estimate(pair.value, unit=pair.row.unit)),
    ("Baseline", "baseline_value", lambda pair: Estimate(pair.base, unit=pair.row.unit)),
    ("Ratio [95 %]", "ratio difference ci_low ci_high", lambda pair: pair.found.typical),
    (
        "Mean (training: median) [95 %]",
        "mean_ratio median_ratio mean_ratio_ci_low mean_ratio_ci_high median_ratio_ci_low median_ratio_ci_high",
        lambda pair: pair.found.other or "",
    ),
    ("Verdict", "verdict", Pair.verdict),
    ("Theoretical", "theoretical", lambda pair: pair.number("theoretical", "ratio")),
    (PREDICTED, "predicted", lambda pair: pair.number("predicted", "ratio")),
    ("Achieved share", "achieved_share", lambda pair: pair.number("achieved_share", "share")),
    (
        "Detectable",
        "detectable",
        lambda pair: pair.number("detectable", "share" if pair.found.typical.kind == "ratio" else "difference"),
    ),
    ("CPU-time ratio", "cpu_ratio", lambda pair: pair.number("cpu_ratio", "ratio")),
    ("Noisy", "noisy", lambda pair: pair.number("noisy", "share")),
    ("Adjusted p", "p_adjusted", lambda pair: pair.number("p_adjusted", "p")),
    ("Remark", "remark", Pair.remark),
)
# Rows that the page holds at most.
MOST_PAIRS = 1000


def every_pair(loaded: Loaded) -> Iterator[Block]:
    """Show a row per pair and metric; the A/A control's last.

    Of many rows those of the variants and lengths that figures show.
    """
    shown = loaded.pairs[loaded.pairs.primary | loaded.pairs.aa_control]
    if shown.empty and loaded.alone:
        return
    among = len(shown)
    if among > MOST_PAIRS:
        few = shown.variant.isin([case.variant for case in loaded.variants_shown]) | shown.aa_control
        shown = shown[few & shown.seq_len.isin(loaded.lengths_shown)][:MOST_PAIRS]
    sections = {case.id: f"case-{at}" for at, case in enumerate(cases_shown(loaded))}
    measured = loaded.values  # noqa: PD011  # by case and metric; no frame's
    rows = []
    for row in shown.itertuples(index=False):
        value, base = (measured.get((str(case), str(row.metric))) for case in (row.case_id, row.baseline_case_id))
        pair = Pair(row, pairs.of_pair(loaded, row), value, base, sections.get(str(row.case_id), ""))
        rows.append([_filled(loaded, cell(pair)) for *_, cell in PAIR_COLUMNS])
    head, names, _ = zip(*PAIR_COLUMNS, strict=True)
    left_out, rows_are = among - len(shown), "rows, at other lengths and capacities"
    file = "comparisons.csv"
    yield Table("All comparisons", head, rows, left_out=left_out, file=file, rows_are=rows_are, names=names, data=shown)
    words = "{n} rows about other pairs of variants are in {file}; {command} compares all variants with another one."
    command = Code("modbench report RUN --baseline VARIANT")
    yield Note(Sentence(words, n=len(loaded.pairs) - among, file=Code(file), command=command))


def _filled(loaded: Loaded, cell: Value) -> Value:
    """A cell, empty where there is no number; a loss in the unit of the report."""
    if not isinstance(cell, Estimate):
        return cell
    return "" if cell.value is None else losses.as_shown(loaded, cell)


TABLE = Section(
    title="All comparisons",
    order=70,
    span=12,
    render=every_pair,
    reading=(
        "One row for each case and metric: its value, the baseline's, and the ratio of the two, turned so that above "
        "1× is better; losses and counts have a difference, case minus baseline. The verdict is the one word that may be "
        "quoted: faster and slower are beyond the margin, equivalent is within it, inconclusive is neither. Click a heading to "
        "sort. *Detectable* is the smallest true effect that this run would detect with 80 % power; adjusted p is Holm's over "
        "the pairs that are judged together. Noisy is the share of blocks in which something else ran."
    ),
)
"""All comparisons as in the CSV, sortable and filterable."""


# Cases up to which the page holds all, and how many it holds of more; numbers of raw samples of all of them together.
MOST_CASES, SOME_CASES, MOST_SAMPLES = 200, 100, 40_000
# Raw samples of a case by metric: its unit, whether by `process` or `seed`, and for each its number and the samples by round.
Samples = dict[str, dict[str, Any]]
# Files of a case that are named, and doubts that are listed.
MOST_FILES, MOST_DOUBTS = 12, 6
CASE_COLUMNS = ("Metric", "Value [95 %]", "n", "Remark")


def cases_shown(loaded: Loaded) -> list[Case]:
    """Return the cases that the report holds: all, or of many those of the variants and lengths that figures show."""
    every = loaded.plan.cases
    if len(every) <= MOST_CASES:
        return every
    variants = {case.variant for case in loaded.shown}
    lengths = set(loaded.lengths_shown)
    return [case for case in every if case.variant in variants and case.grid_point.seq_len in lengths][:SOME_CASES]


def _values(loaded: Loaded, row: Row) -> list[Value]:
    value = row.status if row.status != "ok" else _reported(loaded, row)
    return [row.metric, value, "" if pd.isna(row.n) else int(row.n), known_text(row.reason) or ""]


def _settings(loaded: Loaded, case: Case) -> Iterator[tuple[str, Value]]:
    grid_point = case.grid_point
    differs = [f"{key} = {value}" for key, value in json.loads(case.config_diff()).items() if key != "options"]
    threads = f", threads: {grid_point.threads}" * (grid_point.device == "cpu")
    yield "Variant", case
    if case.options:
        yield "Options", typed(dict(case.options))
    yield "Input", grid_point
    yield "Runs on", f"{grid_point.device}{threads}, {grid_point.execution}"
    yield "Parameters", loaded.tables.counted(case).params or "not counted"
    yield "Not default", Listed(differs) if differs else "nothing"
    for each in case.conditions:
        yield each.title, each.value if isinstance(each.value, str) else Estimate(each.value, unit=each.unit)


def _doubts(loaded: Loaded, case: Case, rows: Sequence[Row]) -> list[Value]:
    """Return labels and doubts, each with the metrics that it is about."""
    tables, metrics = loaded.tables, loaded.tables.metrics
    found = grouped(
        (text, row.metric)
        for row in rows
        for text in (*of_cell(row.labels), *tables.value(case, metrics[row.metric]).doubts.values())
    )
    return [
        Sentence("{doubt} ({metrics})", doubt=text, metrics=Listed([*dict.fromkeys(about)]))
        for text, about in found.items()
    ]


def samples(loaded: Loaded, cases: Sequence[Case]) -> dict[int, Samples] | None:
    """Return the raw samples by the number of the case, rounded to six digits; None if they are too many for a page."""
    found: dict[int, Samples] = {}
    count = 0
    for at, case in enumerate(cases):
        for metric in loaded.tables.metrics.values():
            made = loaded.tables.made_in(metric)
            if metric.source or made.samples == "one":
                continue
            known = loaded.tables.samples_of(case, metric.key).items()
            processes = [(number, _rounds(columns, made.column)) for number, columns in known]
            many = sum(len(columns[made.column]) for _, columns in known)
            count += many
            if count > MOST_SAMPLES:
                return None
            if many > 1:
                by = made.samples.removesuffix("es").removesuffix("s")  # process or seed
                found.setdefault(at, {})[metric.key] = {"unit": metric.unit, "by": by, "processes": processes}
    return found


def _rounds(columns: Mapping[str, list[float]], column: str) -> list[list[float]]:
    """Samples of one process, round by round."""
    values = [float(f"{value:.6g}") for value in columns[column]]
    return [*grouped(zip(columns.get("round", [0.0] * len(values)), values, strict=True)).values()]


def every_case(loaded: Loaded) -> Markup | None:
    """Show the sections, folded; a script draws the raw samples of one when it is unfolded."""
    cases = cases_shown(loaded)
    if not cases:
        return None
    found = samples(loaded, cases)
    again, files = Again(loaded.run), Files(loaded.run, {case.id for case in cases})
    rows = grouped((str(row.case_id), row) for row in loaded.cases.itertuples(index=False))
    made = []
    for at, case in enumerate(cases):
        mine, (command, no_command) = rows.get(case.id, []), again.if_any([case])
        section = {
            "number": at,
            "id": case.id,
            "settings": [(term, inline(value)) for term, value in _settings(loaded, case)],
            "numbers": written([Table(f"Values of {case.id}", CASE_COLUMNS, [_values(loaded, each) for each in mine])]),
            "warnings": [*map(inline, _doubts(loaded, case, mine))],
            "command": command,
            "no_command": no_command,
            "files": [*files.records(case.id), *files.logs(case.id)],
            "raw": found is not None and at in found,
        }
        made.append(section)
    # In a script element only `<` can end it: as an escape it is the same JSON.
    data = json.dumps(found, separators=(",", ":")).replace("<", "\\u003c") if found else ""
    left_out = len(loaded.plan.cases) - len(cases)
    return fill(
        "every_case",
        sections=made,
        samples=Markup(data),  # noqa: S704  # JSON without `<`
        left_out=inline(left_out) if left_out else None,
        most_files=MOST_FILES,
        most_warnings=MOST_DOUBTS,
    )


EVERY_CASE = Section(
    title="Every case",
    order=73,
    span=12,
    render=every_case,
    folded=True,
    printed=False,
    reading=(
        "Unfold a case to see what it was, its values, and the raw samples, process by process: where a process lies apart from "
        "the others, something else happened during it. The command measures this case again, with its baseline alone."
    ),
)
"""A folded section for each case: settings, values, doubts, raw samples, files, and the command that measures it again."""
