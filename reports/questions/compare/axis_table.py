"""A table along an axis: what is kept of a run, its columns and cells. `compare_by.py` makes it, `axis_grid.py` shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from modbench.harness.core.case import Case
from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.reports.tables import axes
from modbench.reports.tables.axes import Value
from modbench.reports.wording.arm_names import name
from modbench.reports.wording.words import TIMED

# Shown where no metric is named: the others are in the JSON.
SHOWN = (*(metric for _, metric in TIMED), "memory/peak_allocated", "memory/kv_cache", "bpb/val")
# How metrics are called in headings; the others by their keys.
TITLES = {metric: title for title, metric in TIMED} | {
    "memory/peak_allocated": "peak memory",
    "memory/kv_cache": "KV cache",
    "bpb/val": "bits/byte",
}
BASELINE = "baseline"


@dataclass(frozen=True)
class Filter:
    """What of the run is shown; empty: all.

    Attributes:
        metrics: keys of metrics.
        seq_lens: sequence lengths.
        workloads: workloads, such as `decode`.
        select: an expression over case ids, in pytest's grammar.
    """

    metrics: tuple[str, ...] = ()
    seq_lens: tuple[int, ...] = ()
    workloads: tuple[str, ...] = ()
    select: str | None = None

    def keeps(self, case: Case, metric: Metric) -> bool:
        """Whether a value is shown, as far as its case's id does not decide it (`select`)."""
        return (
            (not self.metrics or metric.key in self.metrics)
            and (not self.seq_lens or case.place.seq_len in self.seq_lens)
            and (not self.workloads or metric.workload in self.workloads)
        )


@dataclass
class Cell:
    """One case and metric, against its baseline.

    Attributes:
        case: the case.
        value: in the metric's unit; None where it has none.
        row: the pair as a row of `comparisons.csv`; None for the baseline itself, or where there is none.
        why: why there is no row.
    """

    case: Case
    value: float | None
    row: dict[str, Any] | None = None
    why: str = ""

    @property
    def is_baseline(self) -> bool:
        """Whether others are compared with it."""
        return self.row is None and not self.why


# The fields that distinguish a column from the others of its metric, with their values.
Heading: TypeAlias = tuple[tuple[str, Value], ...]


@dataclass
class Column:
    """What is compared along the axis while all else is equal.

    Attributes:
        metric: the metric.
        heading: what distinguishes it from the other columns of the metric.
        cells: by value of the axis; a baseline that has no value of its own stands under `BASELINE`.
    """

    metric: Metric
    heading: Heading
    cells: dict[Value, Cell] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """One run along one axis.

    Attributes:
        axis: its name.
        baseline: the arm, or the value of the axis, that others are compared with, in words.
        rows: values of the axis, in order.
        columns: one for each metric and each combination of the other fields.
        notes: what must be known to read it.
    """

    axis: str
    baseline: str
    rows: list[Value]
    columns: list[Column]
    notes: tuple[str, ...]

    def shown(self) -> list[Column]:
        """The columns of the metrics that are shown where none is named."""
        few = [column for column in self.columns if column.metric.key in SHOWN]
        return few or self.columns


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
    return TITLES.get(column.metric.key, column.metric.key), named(column, column.heading)


def named(column: Column, fields: Heading) -> str:
    """Write some of the fields that distinguish a column."""
    arms = {cell.case.arm: cell.case for cell in column.cells.values()}
    parts = [
        name(arms[str(value)]) if key == "arm" and value in arms else axes.heading(key, value)
        for key, value in fields
        if value not in {axes.FOLLOWS, None}
    ]
    return ", ".join(parts)
