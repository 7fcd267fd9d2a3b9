"""What a search spent, and what the whole grid would have taken, as it predicts from the cells that it measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from modbench.harness.domain.records import Record
from modbench.harness.rules.bisection import Row, rows_of
from modbench.reports.model import Estimate, Sentence
from modbench.reports.panel import Panel
from modbench.reports.tables.load import Loaded


def _seconds(row: Row, asked: set[str], records: Mapping[str, Record]) -> dict[int, float]:
    """Seconds of the cells whose launches all have a record, by their place in the row."""
    found = {}
    for at, cell in enumerate(row.cells):
        mine = [records[unit.name].wall_s for unit in cell.units if unit.name in records]
        if cell.series in asked and len(mine) == len(cell.units):
            found[at] = sum(mine)
    return found


def _of_grid(row: Row, measured: Mapping[int, float]) -> float | None:
    """Seconds of all cells of a row: of unmeasured ones from seconds per FLOP, interpolated in the logarithm of the axis."""
    known = {at: seconds for at, seconds in measured.items() if seconds > 0}
    if not known:
        return None
    flops = [sum(unit.flops for unit in cell.units) for cell in row.cells]
    places = sorted(known)
    x = [math.log(cell.at) for cell in row.cells]
    rates = np.interp(x, [x[at] for at in places], [math.log(known[at] / flops[at]) for at in places])
    return float(sum(measured.get(at, flops[at] * math.exp(rates[at])) for at in range(len(row.cells))))


def sentences(loaded: Loaded) -> Iterator[Sentence]:
    """Say what the searches of a run spent; nothing if nothing was searched."""
    run = loaded.run
    rows = rows_of(loaded.whole_plan)
    if not rows:
        return
    asked = {unit.series for unit in run.plan.units if unit.rule}
    measured = {name: _seconds(row, asked, loaded.records) for name, row in rows.items()}
    of_grid = [_of_grid(row, measured[name]) for name, row in rows.items()]
    whole = None if None in of_grid else sum(each for each in of_grid if each is not None)
    words = "search: {cells} of {of} cells, {spent} of measuring"
    if not run.decided:
        words += "; it has not ended"
    elif whole is None:
        words += "; what the whole grid would have taken cannot be predicted: an arm has no measured cell"
    else:
        words += "; the whole grid would have taken about {grid} (predicted from the measured cells)"
    yield Sentence(
        words,
        cells=sum(map(len, measured.values())),
        of=sum(len(row.cells) for row in rows.values()),
        spent=Estimate(sum(sum(each.values()) for each in measured.values()), kind="duration"),
        grid=Estimate(whole, kind="duration"),
    )


# One sentence of the first screen says all of it.
PANEL = Panel(
    title="What did the search spend?",
    order=74,
    span=12,
    render=lambda _: None,
    rules=frozenset({"bisection"}),
)
