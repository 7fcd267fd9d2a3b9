"""What a search measured of its grid, and how long that took."""

from __future__ import annotations

from collections.abc import Iterator

from modbench.harness.rules.bisection import Row, rows_of
from modbench.reports.model import Estimate, Sentence
from modbench.reports.panel import Panel
from modbench.reports.tables.load import Loaded


def render(loaded: Loaded) -> Iterator[Sentence]:
    """Say what the searches of a run spent; nothing if nothing was searched."""
    rows = [*rows_of(loaded.whole_plan).values()]
    if rows:
        measured = [seconds for row in rows for seconds in _seconds(loaded, row)]
        words = "Searched: {cells} of {of} cells of the grid, {spent} of measuring."
        spent = Estimate(sum(measured), unit="s")
        yield Sentence(words, cells=len(measured), of=sum(len(row.cells) for row in rows), spent=spent)


def _seconds(loaded: Loaded, row: Row) -> list[float]:
    """Seconds of each cell whose launches were all asked for and have a record."""
    asked = {unit.series for unit in loaded.run.plan.units if unit.rule}
    took = {job.unit.name: job.wall_s for job in loaded.tables.jobs if job.wall_s is not None}
    cells = [[unit.name for unit in cell.units] for cell in row.cells if cell.series in asked]
    return [sum(took[name] for name in names) for names in cells if took.keys() >= {*names}]


PANEL = Panel(
    title="What did the search spend?",
    order=74,
    span=12,
    render=render,
    told=True,
    reading="The cells of the grid that the search measured, and what they took.",
    rules=frozenset({"bisection"}),
)
