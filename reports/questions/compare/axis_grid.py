"""A comparison along an axis as tables: one for each metric, with lengths side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from modbench.harness.core.case import Place
from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.reports import model
from modbench.reports.model import Estimate, Finding
from modbench.reports.questions import win_rate
from modbench.reports.questions.compare import axis_table
from modbench.reports.questions.compare.axis_table import BASELINE, TITLES, Cell, Column, Heading, Table
from modbench.reports.tables.axes import Value
from modbench.reports.tables.findings import of_row
from modbench.reports.tables.load import Loaded


@dataclass(frozen=True)
class Grid:
    """One metric as a table, or several that have a column each.

    Attributes:
        metrics: their keys.
        table: its first two columns name each row: what distinguishes it besides the axis, and its value of the axis.
    """

    metrics: tuple[str, ...]
    table: model.Table

    def beside(self, other: Grid) -> Grid:
        """Return a table with the only column of another one beside its own."""
        mine, theirs = ({row[:2]: row[2:] for row in map(tuple, grid.table.rows)} for grid in (self, other))
        keys = list(dict.fromkeys([*mine, *theirs]))
        width = len(self.table.head) - 2
        rows = [(*key, *mine.get(key, ("",) * width), *theirs.get(key, ("",))) for key in keys]
        corner, titles = (self.table.head[2], [self.table.label]) if width == 1 else ("", self.table.head[2:])
        head = (corner, "", *titles, other.table.label)
        return Grid((*self.metrics, *other.metrics), replace(self.table, head=head, rows=rows))


def grids(loaded: Loaded, table: Table, columns: Sequence[Column]) -> Iterator[Grid]:
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
        names = [(axis_table.named(firsts[group], group), axis_table.row_label(table, value)) for group, value in at]
        kept = _once([value == BASELINE for _, value in at], names, cells)
        titles = [
            axis_table.named(next(iter(found.values())), ((across, value),)) if across else ""
            for value, found in heads.items()
        ]
        rows = [(*names[i], *(column[i] for column in cells)) for i in kept]
        yield Grid((key,), model.Table(TITLES.get(key, key), ("", "", *titles), rows))


def told_once(table: model.Table) -> model.Table:
    """Return it without what distinguishes a row where the row above has the same; without that column where none has any."""
    if not any(row[0] for row in table.rows):
        return replace(table, head=(table.head[0], *table.head[2:]), rows=[row[1:] for row in table.rows])
    before: list[model.Value] = [None, *(row[0] for row in table.rows)]
    rows = [("" if row[0] == last else row[0], *row[1:]) for row, last in zip(table.rows, before, strict=False)]
    return replace(table, rows=rows)


def _once(
    of_baseline: Sequence[bool], names: Sequence[tuple[str, str]], cells: Sequence[Sequence[model.Value]]
) -> list[int]:
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
) -> list[model.Value]:
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
