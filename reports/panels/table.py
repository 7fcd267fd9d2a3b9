"""All comparisons as in the CSV, sortable and filterable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from modbench.harness.roofline.table import RATIO_ERROR
from modbench.reports.model import Block, Code, Estimate, Finding, Kind, Note, Sentence, Verdict
from modbench.reports.panel import Panel
from modbench.reports.panels import every_case
from modbench.reports.tables import findings
from modbench.reports.tables.load import Loaded
from modbench.reports.wording import is_number
from modbench.reports.writers.html import fill, inline
from modbench.reports.writers.number_format import interval, number, plain

# Title, alignment, and the columns of `comparisons.csv` (of values: `cases.csv`) that a cell holds.
_HEAD = (
    ("Case", "", "case_id"),
    ("Metric", "", "metric"),
    ("Value", "number", "value"),
    ("Baseline", "number", "baseline_value"),
    ("Ratio", "number", "ratio difference"),
    ("95 % interval", "number", "ci_low ci_high"),
    ("Mean ratio", "number", "mean_ratio"),
    ("95 % interval", "number", "mean_ci_low mean_ci_high"),
    ("Verdict", "", "verdict"),
    ("Ideal", "number", "ideal"),
    (plain(Sentence("Attainable ±{error}", error=Estimate(RATIO_ERROR, kind="about"))), "number", "attainable"),
    ("Realised", "number", "realised"),
    ("MDE", "number", "mde"),
    ("CPU-time ratio", "number", "cpu_ratio"),
    ("Disturbed", "number", "disturbed"),
    ("Clean ratio", "number", "clean_ratio"),
    ("Adjusted p", "number", "p_adjusted"),
    ("Remark", "", "remark"),
)

# A row of `comparisons.csv` as a named tuple: to make a Series of each takes twice as long as to write it.
Row = Any
# Rows that the page holds at most.
MOST_ROWS = 1000


def render(loaded: Loaded) -> list[Block | Markup]:
    """Show a row per pair and metric; the twin's last. Of many rows those of the arms and lengths that figures show."""
    shown = loaded.pairs[loaded.pairs.primary | loaded.pairs.twin]
    if shown.empty and loaded.alone:
        return []
    among = len(shown)
    if among > MOST_ROWS:
        few = shown.arm.isin([case.arm for case in loaded.arms_shown]) | shown.twin
        shown = shown[few & shown.seq_len.isin(loaded.lengths_shown)][:MOST_ROWS]
    numbers = {case.id: number for number, case in enumerate(every_case.shown(loaded))}
    rows = Markup("").join(
        _row(
            row,
            findings.of_pair(loaded, row),
            [loaded.values.get((str(case), str(row.metric))) for case in (row.case_id, row.baseline_case_id)],
            numbers.get(str(row.case_id)),
        )
        for row in shown.itertuples(index=False)
    )
    made: list[Block | Markup] = [fill("table", head=_HEAD, rows=rows)]
    if among > len(shown):
        file = Code("comparisons.csv")
        words = "{n} further rows, at other lengths and capacities, are in {file}."
        made.append(Note(Sentence(words, n=among - len(shown), file=file)))
    words = "{n} rows about other pairs of arms are in {file}; {command} compares all arms with another one."
    command = Code("modbench report RUN --baseline ARM")
    return [*made, Note(Sentence(words, n=len(loaded.pairs) - among, file=Code("comparisons.csv"), command=command))]


def _remarks(found: Finding) -> str:
    """The reason, then the labels of both sides."""
    said = [found.reason] if found.reason else []
    return "; ".join([*said, *found.labels, *(f"baseline: {label}" for label in found.against_labels)])


def _row(row: Row, found: Finding, values: Sequence[object], section: int | None) -> Markup:
    """Make the row of the table: a template takes several times as long for a thousand of them."""
    typical, mean, unit = found.typical, found.mean or Estimate(None), row.unit
    kind: Kind = "share" if typical.kind == "ratio" else "difference"
    numbers = (
        *((number(Estimate.of(value, unit=unit)), (value,)) for value in values),
        (_text(typical), (row.ratio, row.difference)),
        (interval(typical), (row.ci_low, row.ci_high)),
        (_text(mean), (row.mean_ratio,)),
        (interval(mean), (row.mean_ci_low, row.mean_ci_high)),
        (None, ()),
        *((_text(Estimate.of(each, kind="ratio")), (each,)) for each in (row.ideal, row.attainable)),
        (_text(Estimate.of(row.realised, kind="share")), (row.realised,)),
        (_text(Estimate.of(row.mde, kind=kind, unit=unit)), (row.mde,)),
        (_text(Estimate.of(row.cpu_ratio, kind="ratio")), (row.cpu_ratio,)),
        (_text(Estimate.of(row.disturbed, kind="share")), (row.disturbed,)),
        (_text(Estimate.of(row.clean_ratio, kind="ratio")), (row.clean_ratio,)),
        (_text(Estimate.of(row.p_adjusted, kind="p")), (row.p_adjusted,)),
    )
    verdict = plain(Verdict(found.verdict, unit == "s")) if found.status == "ok" else found.status
    cells = "".join(
        f'<td data-value="{found.verdict or ""}">{verdict}</td>'
        if text is None
        else f'<td class="number" data-value="{_exactly(exact)}">{text}</td>'
        for text, exact in numbers
    )
    case = inline(row.case_id) if section is None else f'<a href="#case-{section}">{inline(row.case_id)}</a>'
    failed = ' class="failed"' if row.status == "failed" else ""
    return Markup(  # noqa: S704  # names and remarks are escaped; the rest are numbers and words of ours
        f'<tr{failed} data-arm="{inline(row.arm)}"><td>{case}</td><td>{inline(row.metric)}</td>{cells}'
        f"<td>{inline(_remarks(found))}</td></tr>\n"
    )


def _text(estimate: Estimate) -> str:
    """The number alone, as its interval has a column of its own; empty where there is none."""
    return "" if estimate.value is None else number(estimate)


def _exactly(numbers: Sequence[object]) -> str:
    """Numbers with full precision, as in the CSV; empty where there is none at all."""
    return (
        " ".join(f"{number}" if is_number(number) else "" for number in numbers) if any(map(is_number, numbers)) else ""
    )


READING = (
    "One row for each case and metric: its value, the anchor's, and the ratio of the two, turned so that above 1× is better; "
    "losses and counts have a difference, case minus baseline. The interval covers the true ratio in 95 % of such measurements. "
    "The verdict is the one word that may be quoted: faster and slower are beyond the margin, equivalent is within it, "
    "undecided is neither. Click a heading to sort. MDE is the smallest true effect that this run would detect with 80 % power; "
    "adjusted p is Benjamini-Hochberg over all pairs of the run. Where the CPU-time ratio disagrees with that of wall time the "
    "machine was busy: disturbed is the share of blocks in which something else ran, and the clean ratio leaves such samples "
    "out."
)

PANEL = Panel(title="All comparisons", order=70, span=12, render=render, reading=READING)
