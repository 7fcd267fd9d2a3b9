"""One run along an axis, as text for a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from modbench.harness.core.labels import LOOKED_AHEAD, Label
from modbench.harness.core.printable import escaped
from modbench.harness.core.units import human
from modbench.reports.questions.compare import axis_grid
from modbench.reports.questions.compare.axis_grid import Grid
from modbench.reports.questions.compare.axis_table import BASELINE, Cell, Column, Table
from modbench.reports.sentences.machine import machine_check, warnings
from modbench.reports.tables import axes
from modbench.reports.tables.axes import Value
from modbench.reports.tables.cases import looked_ahead
from modbench.reports.tables.load import Loaded
from modbench.reports.wording.arm_names import name
from modbench.reports.wording.words import is_number, verdict_words
from modbench.reports.writers import json, text
from modbench.reports.writers.text import joined, wrapped

# Lines of tables that a terminal shows; the first table is shown whatever its length.
MOST_LINES = 34
# Cases and metrics whose missing values are explained, with `-v` and without.
MOST_REASONS, FEW_REASONS = 8, 2
# Labels that have a mark beside the number in a terminal.
MARKED = frozenset({*LOOKED_AHEAD, Label.TAIL, Label.CONTAMINATED})


def as_text(loaded: Loaded, table: Table, width: int, *, every: bool = False, verbose: bool = False) -> str:
    """Return a table for each metric, then what must be known to read them.

    Args:
        loaded: the run.
        table: what was compared.
        width: of the terminal, in characters.
        every: whether all metrics are shown.
        verbose: whether nothing is left out.
    """
    columns = table.columns if every or verbose else table.shown()
    blocks = [wrapped([f"⚠ {sentence}"], width) for sentence in reversed(warnings(loaded))]
    blocks.append(wrapped([f"{loaded.path} by {table.axis}, over {table.baseline}"], width))
    left, made = dict.fromkeys(column.metric.key for column in table.columns), list[str]()
    for grid in _fitting(loaded, table, columns, width):
        lines = [*text.table(axis_grid.told_once(grid.table), width), ""]
        if verbose or not made or len(made) + len(lines) <= MOST_LINES:
            made += lines
            left = {key: None for key in left if key not in grid.metrics}
    parts, said = text.legend(made, table.baseline)
    said += table.notes
    said += [
        *labels(columns, None if verbose else 1, marked=MARKED),
        *missing(columns, MOST_REASONS if verbose else FEW_REASONS),
    ]
    said += [f"not shown: {', '.join(left)} (-v, or --metric KEY)"] if left else []
    parts.append(f"margin {loaded.run.plan.suite.margin:.1%}")
    blocks += [made, [*joined(parts, width), *wrapped([*said, machine_check(loaded)[1]], width)]]
    return "\n\n".join("\n".join(escaped(each.rstrip(), lines=False) for each in block).strip() for block in blocks)


def _fitting(loaded: Loaded, table: Table, columns: Sequence[Column], width: int) -> list[Grid]:
    """Return a table for each metric; one with a single column stands beside the one before, as long as both fit the width."""
    made = list[Grid]()
    for grid in axis_grid.grids(loaded, table, columns):
        both = made[-1].beside(grid) if made and len(grid.table.head) == 3 else None
        if both is not None and len(text.table(axis_grid.told_once(both.table), 10**6)[0]) <= width:
            made[-1] = both
        else:
            made.append(grid)
    return made


def how_to_read(loaded: Loaded) -> list[str]:
    """Say what is known of the machine, and what the numbers are."""
    return [machine_check(loaded)[1], f"margin {loaded.run.plan.suite.margin:.1%}; ± half the 95 % interval"]


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
        return text.FUTURE if looked_ahead(row) else ""
    return text.TAIL if Label.TAIL in _labels(row) else ""


def _estimate(row: dict[str, Any]) -> str:
    low, high = row.get("ci_low"), row.get("ci_high")
    half = None if low is None or high is None else (high - low) / 2
    if is_number(row.get("ratio")):
        return f"{row['ratio']:.2f}×" + ("" if half is None else f" ±{half:.2f}")
    return f"{row['difference']:+.3f}" + ("" if half is None else f" ±{half:.3f}")


def _labels(row: dict[str, Any]) -> list[str]:
    return str(row.get("labels") or "").split(";")


def legend(columns: Sequence[Column]) -> Iterator[str]:
    """Explain the marks, and name the labels with the arms that have them."""
    marks = {_mark(cell.row) for column in columns for cell in column.cells.values() if cell.row is not None}
    if text.FUTURE in marks:
        yield f"{text.FUTURE} {Label.SAW_FUTURE}, or the baseline's did: not comparable with a causal loss"
    if text.TAIL in marks:
        yield f"{text.TAIL} {Label.TAIL}: typical calls (shown) and the mean disagree; --json has both"
    yield from labels(columns)


def labels(
    columns: Sequence[Column], most: int | None = None, *, marked: Collection[str] = (Label.SAW_FUTURE, Label.TAIL)
) -> Iterator[str]:
    """Name the labels that have no mark, with the arms that have them; of more than so many arms the rest are counted."""
    found: dict[str, dict[str, None]] = {}
    for cell in (cell for column in columns for cell in column.cells.values() if cell.row is not None):
        for label in _labels(cell.row or {}):
            if label and label not in marked:
                found.setdefault(label, {})[name(cell.case)] = None
    for label, arms in found.items():
        more = f" and {len(arms) - most} more" if most is not None and len(arms) > most else ""
        yield f"{label}: {'; '.join(list(arms)[:most])}{more}"


def missing(columns: Sequence[Column], most: int = MOST_REASONS) -> Iterator[str]:
    """Say why cells have no comparison: each reason once, so many of them."""
    reasons: dict[str, list[str]] = {}
    for column in columns:
        for cell in column.cells.values():
            if cell.row is not None and cell.row["status"] != "ok":
                reasons.setdefault(f"{cell.row['status']}: {cell.row['reason']}", []).append(cell.case.id)
            elif cell.why:
                reasons.setdefault(f"–: {cell.why}", []).append(cell.case.id)
    for reason, cases in list(reasons.items())[:most]:
        more = f" and {len(cases) - 1} more" if len(cases) > 1 else ""
        yield f"{cases[0]}{more}: {reason}"
    if len(reasons) > most:
        yield f"and {len(reasons) - most} more reasons: --json has them"


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
    known = {key: json.value(found.get(key)) for key in KEPT} | {"value": cell.value}
    at = axes.fields(cell.case).get(table.axis) if value == BASELINE else value
    return {table.axis: at} | known | ({"reason": cell.why} if cell.why else {})
