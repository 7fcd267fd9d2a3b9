"""All comparisons as in the CSV, sortable and filterable."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup, escape

from modbench.harness.core.units import human, three_digits
from modbench.reports.panel import Panel
from modbench.reports.panels import _case_details
from modbench.reports.tables.load import Loaded
from modbench.reports.wording.words import is_number, words
from modbench.reports.writers.templates import fill

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
    ("Attainable", "number", "attainable"),
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


def render(loaded: Loaded) -> Markup | None:
    """Show a row per pair and metric; the twin's last. Of many rows those of the arms and lengths that figures show."""
    values = dict(zip(zip(loaded.cases.case_id, loaded.cases.metric, strict=True), loaded.cases.value, strict=True))
    shown = loaded.pairs[loaded.pairs.primary | loaded.pairs.twin]
    if shown.empty and loaded.alone:
        return None
    among = len(shown)
    if among > MOST_ROWS:
        few = shown.arm.isin([case.arm for case in loaded.arms_shown]) | shown.twin
        shown = shown[few & shown.seq_len.isin(loaded.lengths_shown)][:MOST_ROWS]
    numbers = {case.id: number for number, case in enumerate(_case_details.shown(loaded))}
    rows = Markup("").join(_row(row, values, numbers.get(str(row.case_id))) for row in shown.itertuples(index=False))
    left_out = among - len(shown)
    return fill("table", head=_HEAD, rows=rows, other_pairs=len(loaded.pairs) - among, left_out=left_out)


def _mde(row: Row) -> str:
    """Format the minimum detectable effect: a share of a ratio, for losses a difference in their unit."""
    if not is_number(row.mde):
        return ""
    return f"{row.mde:.1%}" if is_number(row.ratio) else _signed(row.mde, row.unit)


def _remarks(row: Row) -> str:
    """The reason, then the labels of both sides."""
    said = [row.reason] if isinstance(row.reason, str) else []
    for column, before in (("labels", ""), ("baseline_labels", "baseline: ")):
        if isinstance(found := getattr(row, column), str):
            said += [f"{before}{label}" for label in found.split(";")]
    return "; ".join(said)


def _row(row: Row, values: dict[Any, Any], number: int | None) -> Markup:
    """Make the row of the table: a template takes several times as long for a thousand of them."""
    value, baseline = values.get((row.case_id, row.metric)), values.get((row.baseline_case_id, row.metric))
    shown = f"{three_digits(row.ratio)}×" if is_number(row.ratio) else _signed(row.difference, row.unit)
    numbers: tuple[tuple[str, tuple[object, ...]], ...] = (
        (human(value, row.unit), (value,)),
        (human(baseline, row.unit), (baseline,)),
        (shown, (row.ratio, row.difference)),
        (_span(row.ci_low, row.ci_high), (row.ci_low, row.ci_high)),
        (_times(row.mean_ratio), (row.mean_ratio,)),
        (_span(row.mean_ci_low, row.mean_ci_high), (row.mean_ci_low, row.mean_ci_high)),
        (words(row) if row.status == "ok" else row.status, ()),
        (_times(row.ideal), (row.ideal,)),
        (_times(row.attainable), (row.attainable,)),
        (f"{row.realised:.0%}" if is_number(row.realised) else "", (row.realised,)),
        (_mde(row), (row.mde,)),
        (_times(row.cpu_ratio), (row.cpu_ratio,)),
        (f"{row.disturbed:.0%}" if is_number(row.disturbed) else "", (row.disturbed,)),
        (_times(row.clean_ratio), (row.clean_ratio,)),
        (f"{row.p_adjusted:.2g}" if is_number(row.p_adjusted) else "", (row.p_adjusted,)),
    )
    cells = "".join(
        f'<td class="number" data-value="{_exactly(exact)}">{text}</td>'
        if exact
        else f'<td data-value="{row.verdict if isinstance(row.verdict, str) else ""}">{text}</td>'
        for text, exact in numbers
    )
    case = escape(row.case_id) if number is None else f'<a href="#case-{number}">{escape(row.case_id)}</a>'
    failed = ' class="failed"' if row.status == "failed" else ""
    return Markup(  # noqa: S704  # names and remarks are escaped; the rest are numbers and words of ours
        f'<tr{failed} data-arm="{escape(row.arm)}"><td>{case}</td><td>{escape(row.metric)}</td>{cells}'
        f"<td>{escape(_remarks(row))}</td></tr>\n"
    )


def _exactly(numbers: tuple[object, ...]) -> str:
    """Numbers with full precision, as in the CSV; empty where there is none at all."""
    return (
        " ".join(f"{number}" if is_number(number) else "" for number in numbers) if any(map(is_number, numbers)) else ""
    )


def _times(ratio: float) -> str:
    return f"{three_digits(ratio)}×" if is_number(ratio) else ""


def _span(low: float, high: float) -> str:
    return f"{three_digits(low)} to {three_digits(high)}" if is_number(low) else ""


def _signed(value: object, unit: str) -> str:
    if not is_number(value):
        return ""
    return f"{value:+g}" if unit == "count" else f"{value:+.3f}"


READING = (
    "One row for each case and metric: its value, the anchor's, and the ratio of the two, turned so that above 1× is "
    "better. The interval covers the true ratio in 95 % of such measurements. The verdict is the one word that may be"
    " quoted: faster and slower are beyond the margin, equivalent is within it, undecided is neither. Click a heading"
    " to sort."
)

PANEL = Panel(title="All comparisons", order=70, span=12, render=render, reading=READING)
