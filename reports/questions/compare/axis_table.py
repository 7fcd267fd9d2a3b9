"""A comparison along an axis: what is kept of a run, its columns and cells, and a table for each metric."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from modbench.harness.core.case import Case, Place
from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.reports.model import Estimate, Finding, Listed, Sentence, Table
from modbench.reports.model import Value as Shown
from modbench.reports.questions import win_rate
from modbench.reports.tables import axes
from modbench.reports.tables.axes import Value
from modbench.reports.tables.findings import of_row
from modbench.reports.tables.load import Loaded
from modbench.reports.wording import TIMED, name

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
class AlongAxis:
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


def row_label(table: AlongAxis, value: Value) -> str:
    """Return the label of a row: a value of the axis, or the baseline's name."""
    if value == BASELINE:
        taken = {axes.in_words(table.axis, each) for each in table.rows if each != BASELINE}
        return f"{table.baseline} (baseline)" if table.baseline in taken else table.baseline
    if table.axis == "arm":
        return next(name(c.cells[value].case) for c in table.columns if value in c.cells)
    return axes.in_words(table.axis, value)


def named(column: Column, fields: Heading) -> str:
    """Write some of the fields that distinguish a column."""
    arms = {cell.case.arm: cell.case for cell in column.cells.values()}
    parts = [
        name(arms[str(value)]) if key == "arm" and value in arms else axes.heading(key, value)
        for key, value in fields
        if value not in {axes.FOLLOWS, None}
    ]
    return ", ".join(parts)


# --- its tables


@dataclass(frozen=True)
class Grid:
    """One metric as a table, or several that have a column each.

    Attributes:
        metrics: their keys.
        table: its first two columns name each row: what distinguishes it besides the axis, and its value of the axis.
    """

    metrics: tuple[str, ...]
    table: Table

    def beside(self, other: Grid) -> Grid:
        """Return a table with the only column of another one beside its own."""
        mine, theirs = ({row[:2]: row[2:] for row in map(tuple, grid.table.rows)} for grid in (self, other))
        keys = list(dict.fromkeys([*mine, *theirs]))
        width = len(self.table.head) - 2
        rows = [(*key, *mine.get(key, ("",) * width), *theirs.get(key, ("",))) for key in keys]
        corner, titles = (self.table.head[2], [self.table.label]) if width == 1 else ("", self.table.head[2:])
        head = (corner, "", *titles, other.table.label)
        return Grid((*self.metrics, *other.metrics), replace(self.table, head=head, rows=rows))


def grids(loaded: Loaded, table: AlongAxis, columns: Sequence[Column]) -> Iterator[Grid]:
    """Yield a table for each metric: lengths side by side, else the last of the fields that distinguish its columns."""
    for key in dict.fromkeys(column.metric.key for column in columns):
        mine = [column for column in columns if column.metric.key == key]
        fields = dict.fromkeys(field for column in mine for field, _ in column.heading)
        across = "seq_len" if "seq_len" in fields else next(reversed(fields), "")
        heads: dict[Value, dict[Heading, Column]] = {}
        for column in mine:
            group = tuple(each for each in column.heading if each[0] != across)
            heads.setdefault(dict(column.heading).get(across), {})[group] = column
        firsts = {group: column for found in heads.values() for group, column in found.items()}
        at = [
            (group, value)
            for group in firsts
            for value in table.rows
            if any(group in found and value in found[group].cells for found in heads.values())
        ]
        known = {cell.case.id: cell.value for column in mine for cell in column.cells.values()}
        cells = [
            _column(
                loaded,
                mine[0].metric,
                [found[group].cells.get(value) if group in found else None for group, value in at],
                known,
            )
            for found in heads.values()
        ]
        names = [(named(firsts[group], group), row_label(table, value)) for group, value in at]
        kept = _once([value == BASELINE for _, value in at], names, cells)
        titles = [
            named(next(iter(found.values())), ((across, value),)) if across else "" for value, found in heads.items()
        ]
        rows = [(*names[i], *(column[i] for column in cells)) for i in kept]
        yield Grid((key,), Table(TITLES.get(key, key), ("", "", *titles), rows))


def told_once(table: Table) -> Table:
    """Return it without what distinguishes a row where the row above has the same; without that column where none has any."""
    if not any(row[0] for row in table.rows):
        return replace(table, head=(table.head[0], *table.head[2:]), rows=[row[1:] for row in table.rows])
    before: list[Shown] = [None, *(row[0] for row in table.rows)]
    rows = [("" if row[0] == last else row[0], *row[1:]) for row, last in zip(table.rows, before, strict=False)]
    return replace(table, rows=rows)


def _once(of_baseline: Sequence[bool], names: Sequence[tuple[str, str]], cells: Sequence[Sequence[Shown]]) -> list[int]:
    """Return the rows to show: a baseline that stands beside several groups is shown at the first of those that are alike."""
    seen, kept = list[tuple[object, ...]](), list[int]()
    for i, (_, label) in enumerate(names):
        row = (label, *(cell.value if isinstance(cell := column[i], Finding) else cell for column in cells))
        if not of_baseline[i] or row not in seen:
            kept.append(i)
        seen.append(row)
    return kept


def _column(
    loaded: Loaded, metric: Metric, cells: Sequence[Cell | None], known: Mapping[str, float | None]
) -> list[Shown]:
    """Return one column; the best of each place is marked where it is told apart from all others there."""
    places: dict[Place, dict[str, str]] = {}
    for case in (cell.case for cell in cells if cell is not None and cell.value is not None):
        places.setdefault(case.place, {})[case.arm] = case.id
    best = {(win_rate.best(loaded, metric.key, arms), place) for place, arms in places.items()}
    return [
        ""
        if cell is None
        else replace(found(loaded, metric, cell, known), best=(cell.case.arm, cell.case.place) in best)
        for cell in cells
    ]


def found(loaded: Loaded, metric: Metric, cell: Cell, known: Mapping[str, float | None]) -> Finding:
    """Return a cell as a finding: its value, and what is found of it against the baseline.

    Args:
        loaded: the run.
        metric: what was measured.
        cell: the cell.
        known: values by case id, the baseline's among them.
    """
    own = Estimate(cell.value, unit="" if metric.unit == "ratio" else metric.unit)
    own = replace(own, kind="share") if metric.unit == "ratio" else own
    alone = Finding(cell.case, None, cell.case.place, metric.key, value=own, reason=cell.why or None)
    if cell.row is None:
        return replace(alone, against="") if cell.why else alone
    base = loaded.cases_by_id[str(cell.row["baseline_case_id"])]
    made = of_row(cell.row, cell.case, base, cell.value, known.get(base.id))
    return made if made.status != "ok" else replace(made, value=own)


# --- what must be known to read them


def margin(loaded: Loaded) -> Sentence:
    """Return the margin within which two arms are equivalent."""
    return Sentence("margin {margin}", margin=Estimate(loaded.run.plan.suite.margin, kind="share"))


def labels(columns: Sequence[Column], most: int = 0, *, marked: Collection[str] = ()) -> Iterator[Sentence]:
    """Name the labels with the arms that have them.

    Args:
        columns: whose labels.
        most: arms that are named; the others are counted; 0: all are.
        marked: labels that have a mark beside the number.
    """
    found: dict[str, dict[str, None]] = {}
    for cell in (cell for column in columns for cell in column.cells.values() if cell.row is not None):
        for label in str((cell.row or {}).get("labels") or "").split(";"):
            if label and label not in marked:
                found.setdefault(label, {})[name(cell.case)] = None
    for label, arms in found.items():
        yield Sentence("{label}: {arms}", label=label, arms=Listed([*arms], "; ", most=most))


def missing(columns: Sequence[Column], most: int) -> Iterator[Sentence]:
    """Say why cells have no comparison: each reason once, so many of them."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for column in columns:
        for cell in column.cells.values():
            if cell.row is not None and cell.row["status"] != "ok":
                reasons.setdefault((cell.row["status"], cell.row["reason"]), []).append(cell.case.id)
            elif cell.why:
                reasons.setdefault(("–", cell.why), []).append(cell.case.id)
    for (status, reason), cases in list(reasons.items())[:most]:
        yield Sentence("{cases}: {status}: {reason}", cases=Listed(cases, most=1), status=status, reason=reason)
    if len(reasons) > most:
        yield Sentence("and {n} more reasons: --json has them", n=len(reasons) - most)
