"""All comparisons as in the CSV, sortable and filterable."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from modbench.harness.core.units import human, three_digits
from modbench.reports.load import Loaded
from modbench.reports.panel import Panel, is_number, words
from modbench.reports.templates import fill

_HEAD = (
    ("Case", ""),
    ("Metric", ""),
    ("Value", "number"),
    ("Baseline", "number"),
    ("Ratio", "number"),
    ("95 % interval", "number"),
    ("Mean ratio", "number"),
    ("95 % interval", "number"),
    ("Verdict", ""),
    ("Ideal", "number"),
    ("Attainable", "number"),
    ("Realised", "number"),
    ("MDE", "number"),
    ("CPU-time ratio", "number"),
    ("Disturbed", "number"),
    ("Clean ratio", "number"),
    ("Adjusted p", "number"),
)

# A row of `comparisons.csv` as a named tuple: to make a Series of each takes twice as long as to write it.
Row = Any
# Rows that the page holds at most.
MOST_ROWS = 1000


def render(loaded: Loaded) -> Markup | None:
    """Show a row per pair and metric; the twin's last. Of many rows those of the arms and lengths that figures show."""
    values = dict(zip(zip(loaded.cases.case_id, loaded.cases.metric, strict=True), loaded.cases.value, strict=True))
    shown = loaded.pairs[loaded.pairs.primary | loaded.pairs.twin]
    among = len(shown)
    if among > MOST_ROWS:
        few = shown.arm.isin([case.arm for case in loaded.arms_shown]) | shown.twin
        shown = shown[few & shown.seq_len.isin(loaded.lengths_shown)][:MOST_ROWS]
    rows = [_row(row, values) for row in shown.itertuples(index=False)]
    head = (*_HEAD, ("Remark", ""))
    return fill("table", head=head, rows=rows, other_pairs=len(loaded.pairs) - among, left_out=among - len(shown))


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


def _row(row: Row, values: dict[Any, Any]) -> tuple[str, list[tuple[str, object]], str]:
    value, baseline = values.get((row.case_id, row.metric)), values.get((row.baseline_case_id, row.metric))
    change = row.ratio if is_number(row.ratio) else row.difference
    shown = f"{three_digits(row.ratio)}×" if is_number(row.ratio) else _signed(row.difference, row.unit)
    cells: list[tuple[str, object]] = [
        (row.case_id, None),
        (row.metric, None),
        (human(value, row.unit), value),
        (human(baseline, row.unit), baseline),
        (shown, change),
        (_span(row.ci_low, row.ci_high), row.ci_low),
        (_times(row.mean_ratio), row.mean_ratio),
        (_span(row.mean_ci_low, row.mean_ci_high), row.mean_ci_low),
        (words(row) if row.status == "ok" else row.status, None),
        (_times(row.ideal), row.ideal),
        (_times(row.attainable), row.attainable),
        (f"{row.realised:.0%}" if is_number(row.realised) else "", row.realised),
        (_mde(row), row.mde),
        (_times(row.cpu_ratio), row.cpu_ratio),
        (f"{row.disturbed:.0%}" if is_number(row.disturbed) else "", row.disturbed),
        (_times(row.clean_ratio), row.clean_ratio),
        (f"{row.p_adjusted:.2g}" if is_number(row.p_adjusted) else "", row.p_adjusted),
    ]
    sorted_by = [(text, key if is_number(key) else "") for text, key in cells]
    return row.status, sorted_by, _remarks(row)


def _times(ratio: float) -> str:
    return f"{three_digits(ratio)}×" if is_number(ratio) else ""


def _span(low: float, high: float) -> str:
    return f"{three_digits(low)} to {three_digits(high)}" if is_number(low) else ""


def _signed(value: object, unit: str) -> str:
    if not is_number(value):
        return ""
    return f"{value:+g}" if unit == "count" else f"{value:+.3f}"


PANEL = Panel(title="All comparisons", order=70, span=12, render=render)
