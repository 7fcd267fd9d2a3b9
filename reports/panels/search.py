"""What a search spent, and what the whole grid would have taken, as it predicts from the cells that it measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from modbench.harness.rules.bisection import Row, rows_of
from modbench.reports.model import Estimate, Sentence
from modbench.reports.panel import Panel
from modbench.reports.tables.load import Loaded


def render(loaded: Loaded) -> Iterator[Sentence]:
    """Say what the searches of a run spent; nothing if nothing was searched."""
    rows = [*rows_of(loaded.whole_plan).values()]
    if not rows:
        return
    measured = [_seconds(loaded, row) for row in rows]
    grid = [_of_grid(row, found) for row, found in zip(rows, measured, strict=True) if any(found.values())]
    yield Sentence(
        "Searched: {cells} of {of} cells, {spent} of measuring; the whole grid would have taken about {grid}.",
        cells=sum(map(len, measured)),
        of=sum(len(row.cells) for row in rows),
        spent=Estimate(sum(sum(found.values()) for found in measured), unit="s"),
        grid=Estimate(sum(grid), unit="s") if loaded.run.decided and len(grid) == len(rows) else None,
    )


def _seconds(loaded: Loaded, row: Row) -> dict[int, float]:
    """Seconds of the cells whose launches were all asked for and have a record, by their place in the row."""
    asked = {unit.series for unit in loaded.run.plan.units if unit.rule}
    took = {job.unit.name: job.wall_s for job in loaded.tables.jobs if job.wall_s is not None}
    spent = {
        at: [took[unit.name] for unit in cell.units if unit.name in took]
        for at, cell in enumerate(row.cells)
        if cell.series in asked
    }
    return {at: sum(found) for at, found in spent.items() if len(found) == len(row.cells[at].units)}


def _of_grid(row: Row, measured: Mapping[int, float]) -> float:
    """Seconds of all cells of a row: of unmeasured ones from seconds per FLOP, interpolated in the logarithm of the axis."""
    flops = [sum(unit.flops for unit in cell.units) for cell in row.cells]
    x = [math.log(cell.at) for cell in row.cells]
    places = sorted(at for at, seconds in measured.items() if seconds > 0)
    rates = np.interp(x, [x[at] for at in places], [math.log(measured[at] / flops[at]) for at in places])
    return float(sum(measured.get(at, flops[at] * math.exp(rates[at])) for at in range(len(row.cells))))


PANEL = Panel(
    title="What did the search spend?",
    order=74,
    span=12,
    render=render,
    told=True,
    reading="The cells that the search measured, what they took, and what the whole grid would have taken, as they predict.",
    rules=frozenset({"bisection"}),
)
