"""A table along an axis as tables of a terminal: one for each metric, with lengths side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from modbench.harness.core.case import Place
from modbench.harness.core.units import scale_of, three_digits
from modbench.reports.questions import win_rate
from modbench.reports.questions.compare import axis_table
from modbench.reports.questions.compare.axis_table import BASELINE, TITLES, Cell, Column, Heading, Table
from modbench.reports.tables.axes import Value
from modbench.reports.tables.cases import looked_ahead
from modbench.reports.tables.load import Loaded
from modbench.reports.terminal.arm_tables import FUTURE_MARK, GLYPHS, Ratio, in_parts, starred
from modbench.reports.wording.words import is_number
from modbench.reports.writers.text_table import paired


@dataclass(frozen=True)
class Grid:
    """One metric as a table of the terminal, or several that have a column each.

    Attributes:
        metrics: their keys.
        title: heading of the rows.
        heads: titles of the columns.
        rows: what names each row: what distinguishes it besides the axis, and its value of the axis.
        cells: of each column one for each row.
    """

    metrics: tuple[str, ...]
    title: str
    heads: Sequence[str]
    rows: Sequence[tuple[str, str]]
    cells: Sequence[Sequence[str]]

    def lines(self, width: int) -> list[str]:
        """Align it, in as many parts as the width needs; what distinguishes rows stands at the first of them alone."""
        wide, before, names = max(len(group) for group, _ in self.rows), "", [self.title]
        for group, value in self.rows:
            names.append(f"{'' if group == before else group:<{wide}}{'  ' * bool(wide)}{value}")
            before = group
        return in_parts([names, *([head, *column] for head, column in zip(self.heads, self.cells, strict=True))], width)

    def beside(self, other: Grid) -> Grid:
        """Return a table with the only column of another one beside its own."""
        rows = list(dict.fromkeys([*self.rows, *other.rows]))
        cells = [
            [known.get(row, "").ljust(max(map(len, column))) for row in rows]
            for grid in (self, other)
            for column in grid.cells
            for known in [dict(zip(grid.rows, column, strict=True))]
        ]
        alone = len(self.heads) == 1
        title, heads = (self.heads[0], [self.title]) if alone else (self.title, self.heads)
        return Grid((*self.metrics, *other.metrics), title, [*heads, other.title], rows, cells)


def of(loaded: Loaded, table: Table, columns: Sequence[Column], width: int) -> list[Grid]:
    """Return a table for each metric; one with a single column stands beside the one before, as long as both fit the width."""
    made = list[Grid]()
    for grid in _grids(loaded, table, columns):
        both = made[-1].beside(grid) if made and len(grid.heads) == 1 else None
        if both is not None and len(both.lines(10**6)[0]) <= width:
            made[-1] = both
        else:
            made.append(grid)
    return made


def _grids(loaded: Loaded, table: Table, columns: Sequence[Column]) -> Iterator[Grid]:
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
        rows = [
            (group, value)
            for group in firsts
            for value in table.rows
            if any(group in found and value in found[group].cells for found in heads.values())
        ]
        known = {cell.case.id: cell.value for column in mine for cell in column.cells.values()}
        factor, unit = scale_of(
            max((value for value in known.values() if value is not None), default=0.0), mine[0].metric.unit
        )
        cells = [
            _column(
                loaded,
                key,
                [found[group].cells.get(value) if group in found else None for group, value in rows],
                known,
                factor,
            )
            for found in heads.values()
        ]
        names = [(axis_table.named(firsts[group], group), axis_table.row_label(table, value)) for group, value in rows]
        kept = _once([value == BASELINE for _, value in rows], names, cells)
        called = TITLES.get(key, key)
        yield Grid(
            (key,),
            called if unit in {called, "ratio", ""} else f"{called}, {unit}",
            [axis_table.named(next(iter(found.values())), ((across, value),)) for value, found in heads.items()]
            if across
            else [""],
            [names[i] for i in kept],
            [[column[i] for i in kept] for column in cells],
        )


def _once(of_baseline: Sequence[bool], names: Sequence[tuple[str, str]], cells: Sequence[Sequence[str]]) -> list[int]:
    """Return the rows to show: a baseline that stands beside several groups is shown at the first of those that are alike."""
    seen, kept = set[tuple[str, ...]](), list[int]()
    for i, (_, label) in enumerate(names):
        row = (label, *(column[i].strip() for column in cells))
        if not of_baseline[i] or row not in seen:
            kept.append(i)
        seen.add(row)
    return kept


def _column(
    loaded: Loaded, metric: str, cells: Sequence[Cell | None], known: Mapping[str, float | None], factor: float
) -> list[str]:
    """Return one column as text; the best of each place has a mark where it is told apart from all others there."""
    unit = loaded.tables.metrics[metric].unit
    made = paired([("", "") if cell is None else _cell(cell, unit, known, factor) for cell in cells])
    places: dict[Place, dict[str, str]] = {}
    for case in (cell.case for cell in cells if cell is not None and cell.value is not None):
        places.setdefault(case.place, {})[case.arm] = case.id
    best = {(win_rate.best(loaded, metric, arms), place) for place, arms in places.items()}
    return starred(made, [cell is not None and (cell.case.arm, cell.case.place) in best for cell in cells])


def _cell(cell: Cell, unit: str, known: Mapping[str, float | None], factor: float) -> tuple[str, str]:
    """Format a cell: `6.98` and `1.48×±.01▲`; a loss as `3.772` and `+0.017±0.004▼`; of the baseline its value alone."""
    row, value = cell.row, "–"
    if cell.value is not None:
        shown = {"ratio": f"{cell.value:.1%}", "nat": f"{cell.value:.3f}", "bit/B": f"{cell.value:.3f}"}
        value = shown.get(unit) or three_digits(cell.value / factor)
    if row is None or row["status"] != "ok":
        failed = row is not None and row["status"] == "failed"
        return "failed" if failed else value, "–" * bool(cell.why)
    if is_number(row.get("ratio")):
        base = known.get(str(row.get("baseline_case_id")))
        return value, Ratio.of(row, unit).beside(base, cell.value or 0.0)
    half = f"±{(row['ci_high'] - row['ci_low']) / 2:.3f}" if is_number(row.get("ci_low")) else ""
    return (
        value,
        f"{row['difference']:+.3f}{half}{FUTURE_MARK if looked_ahead(row) else GLYPHS.get(str(row.get('verdict')), '')}",
    )
