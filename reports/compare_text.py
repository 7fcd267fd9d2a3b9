"""One run along an axis, as text for a terminal and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from modbench.harness.core.labels import Label
from modbench.harness.core.printable import escaped
from modbench.harness.core.units import human
from modbench.reports import axes
from modbench.reports.axes import Value
from modbench.reports.axis_table import BASELINE, Cell, Column, Table
from modbench.reports.cases import looked_ahead
from modbench.reports.load import Loaded
from modbench.reports.machine import machine_check, warnings
from modbench.reports.panel import TIMED, is_number, verdict_words
from modbench.reports.style import name
from modbench.reports.terminal_tables import FUTURE_MARK, TAIL_MARK
from modbench.reports.text_table import wrapped

# How metrics are called in headings; the others by their keys.
TITLES = {metric: title for title, metric in TIMED} | {
    "memory/peak_allocated": "peak memory",
    "memory/kv_cache": "KV cache",
    "bpb/val": "bits/byte",
}
# Columns that a terminal shows; the JSON has all.
MOST_COLUMNS = 36
# Cases and metrics whose missing values are explained.
MOST_REASONS = 8
GAP = "   "


def as_text(loaded: Loaded, table: Table, width: int, *, every: bool = False) -> str:
    """Return the table in blocks that fit the width, then what must be known to read it.

    Args:
        loaded: the run.
        table: what was compared.
        width: of the terminal, in characters.
        every: whether all metrics are shown.
    """
    columns = table.columns if every else table.shown()
    lines = [*wrapped([f"{loaded.path}: by {table.axis}, against {table.baseline}; above 1 is better"], width), ""]
    for sentence in warnings(loaded):
        lines = [*wrapped([f"⚠ {sentence}"], width), "", *lines]
    shown = columns[:MOST_COLUMNS]
    labels = [row_label(table, value) for value in table.rows]
    pieces = [_piece(table, column) for column in shown]
    for block in _blocks(labels, pieces, width - max(map(len, labels)) - len(GAP)):
        lines += [*block, ""]
    said = [*legend(shown), *table.notes, *missing(shown)]
    if len(columns) > len(shown):
        said.append(f"and {len(columns) - len(shown)} more columns: --metric, --seq-len, --workload and -k choose")
    others = dict.fromkeys(column.metric.key for column in table.columns if column not in columns)
    if others:
        said.append(f"not shown: {', '.join(others)} (--metric KEY, or --json)")
    said += how_to_read(loaded)
    return "\n".join(escaped(line, lines=False) for line in [*lines, *wrapped(said, width)])


def how_to_read(loaded: Loaded) -> list[str]:
    """Say what is known of the machine, and what the numbers are."""
    return [machine_check(loaded)[1], f"margin {loaded.run.plan.suite.margin:.1%}; ± half the 95 % interval"]


def row_label(table: Table, value: Value) -> str:
    """Return the label of a row: a value of the axis, or the baseline's name."""
    if value == BASELINE:
        taken = {axes.in_words(table.axis, each) for each in table.rows if each != BASELINE}
        return f"{table.baseline} (baseline)" if table.baseline in taken else table.baseline
    if table.axis == "arm":
        return next(name(c.cells[value].case) for c in table.columns if value in c.cells)
    return axes.in_words(table.axis, value)


def title(column: Column) -> tuple[str, str]:
    """Return the heading of a column: its metric, and what else distinguishes it."""
    arms = {cell.case.arm: cell.case for cell in column.cells.values()}
    parts = [
        name(arms[str(value)]) if key == "arm" and value in arms else axes.heading(key, value)
        for key, value in column.heading
        if value != axes.FOLLOWS
    ]
    return TITLES.get(column.metric.key, column.metric.key), ", ".join(parts)


def texts(column: Column, cell: Cell | None) -> tuple[str, str, str]:
    """Return a cell as text: ratio ± half interval (or difference), verdict, value."""
    if cell is None:
        return "", "", ""
    value = "" if cell.value is None else human(cell.value, column.metric.unit)
    row = cell.row
    if row is None:
        return ("" if cell.why else "baseline"), "", value
    if row["status"] != "ok":
        return ("failed" if row["status"] == "failed" else "–"), "", value
    return f"{_estimate(row)}{_mark(row)}", verdict_words(row.get("verdict"), column.metric.unit), value


def _mark(row: dict[str, Any]) -> str:
    """The mark of a loss that saw the future, or of a time whose typical calls and mean disagree."""
    if not is_number(row.get("ratio")):
        return FUTURE_MARK if looked_ahead(row) else ""
    return TAIL_MARK if Label.TAIL in _labels(row) else ""


def _estimate(row: dict[str, Any]) -> str:
    low, high = row.get("ci_low"), row.get("ci_high")
    half = None if low is None or high is None else (high - low) / 2
    if is_number(row.get("ratio")):
        return f"{row['ratio']:.2f}×" + ("" if half is None else f" ±{half:.2f}")
    return f"{row['difference']:+.3f}" + ("" if half is None else f" ±{half:.3f}")


def _labels(row: dict[str, Any]) -> list[str]:
    return str(row.get("labels") or "").split(";")


def _piece(table: Table, column: Column) -> list[str]:
    """Return a column as lines of equal length: two of heading, then one for each row."""
    cells = [texts(column, column.cells.get(value)) for value in table.rows]
    widths = [max(len(cell[i]) for cell in cells) for i in range(3)]
    lines = [" ".join(_padded(cell, widths)).rstrip() for cell in cells]
    lines = [*title(column), *lines]
    return [line.ljust(max(map(len, lines))) for line in lines]


def _padded(cell: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    for i, (text, width) in enumerate(zip(cell, widths, strict=True)):
        if width:
            yield text.rjust(width) if i == 2 else text.ljust(width)


def _blocks(labels: Sequence[str], pieces: Sequence[list[str]], room: int) -> Iterator[list[str]]:
    """Yield the columns side by side, as many as fit; each block with the labels of the rows that have something in it."""
    row: list[list[str]] = []
    for piece in [*pieces, None]:
        used = sum(len(each[0]) + len(GAP) for each in row)
        if row and (piece is None or used + len(piece[0]) > room):
            yield list(_block(["", "", *labels], row))
            row = []
        if piece is not None:
            row.append(piece)


def _block(labels: Sequence[str], pieces: Sequence[list[str]]) -> Iterator[str]:
    wide = max(map(len, labels))
    for label, *parts in zip(labels, *pieces, strict=True):
        if any(map(str.strip, parts)):
            yield GAP.join([label.ljust(wide), *parts]).rstrip()


def legend(columns: Sequence[Column]) -> Iterator[str]:
    """Explain the marks, and name the labels with the arms that have them."""
    rows = [(cell, cell.row) for column in columns for cell in column.cells.values() if cell.row is not None]
    if any(_mark(row) == FUTURE_MARK for _, row in rows):
        yield f"{FUTURE_MARK} {Label.SAW_FUTURE}, or the baseline's did: not comparable with a causal loss"
    if any(_mark(row) == TAIL_MARK for _, row in rows):
        yield f"{TAIL_MARK} {Label.TAIL}: typical calls (shown) and the mean disagree; --json has both"
    found: dict[str, dict[str, None]] = {}
    for cell, row in rows:
        for label in _labels(row):
            if label and label not in {Label.SAW_FUTURE, Label.TAIL}:
                found.setdefault(label, {})[name(cell.case)] = None
    yield from (f"{label}: {'; '.join(arms)}" for label, arms in found.items())


def missing(columns: Sequence[Column]) -> Iterator[str]:
    """Say why cells have no comparison: each reason once."""
    reasons: dict[str, list[str]] = {}
    for column in columns:
        for cell in column.cells.values():
            if cell.row is not None and cell.row["status"] != "ok":
                reasons.setdefault(f"{cell.row['status']}: {cell.row['reason']}", []).append(cell.case.id)
            elif cell.why:
                reasons.setdefault(f"–: {cell.why}", []).append(cell.case.id)
    for reason, cases in list(reasons.items())[:MOST_REASONS]:
        more = f" and {len(cases) - 1} more" if len(cases) > 1 else ""
        yield f"{cases[0]}{more}: {reason}"
    if len(reasons) > MOST_REASONS:
        yield f"and {len(reasons) - MOST_REASONS} more reasons: --json has them"


KEPT = (
    *("case_id", "baseline_case_id", "ratio", "difference", "ci_low", "ci_high", "ci_level"),
    *("mean_ratio", "mean_ci_low", "mean_ci_high", "ideal", "attainable", "mde"),
    *("verdict", "paired", "status", "reason", "labels", "baseline_labels"),
)


def as_dict(loaded: Loaded, table: Table) -> dict[str, Any]:
    """Return the table as JSON values: null where there is no value."""
    return {
        "run": str(loaded.path),
        "by": table.axis,
        "baseline": table.baseline,
        "margin": loaded.run.plan.suite.margin,
        "machine_check": machine_check(loaded)[1],
        "incomplete": loaded.run.incomplete,
        "columns": [
            {
                "metric": column.metric.key,
                "unit": column.metric.unit,
                "fields": dict(column.heading),
                "rows": [_row(table, value, column.cells[value]) for value in table.rows if value in column.cells],
            }
            for column in table.columns
        ],
        "notes": [*warnings(loaded), *table.notes],
    }


def _row(table: Table, value: Value, cell: Cell) -> dict[str, Any]:
    found = cell.row or {"case_id": cell.case.id, "status": "baseline" if cell.is_baseline else "skipped"}
    known = {key: plain(found.get(key)) for key in KEPT} | {"value": cell.value}
    at = axes.fields(cell.case).get(table.axis) if value == BASELINE else value
    return {table.axis: at} | known | ({"reason": cell.why} if cell.why else {})


def plain(value: object) -> object:
    """Convert a table's value to what JSON can hold."""
    if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value
