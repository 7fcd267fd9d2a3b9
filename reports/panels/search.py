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
    """Seconds of each cell whose processes were all asked for and have a record."""
    asked = {job.series for job in loaded.run.plan.jobs if job.rule}
    took = {planned.job.name: planned.wall_s for planned in loaded.tables.jobs if planned.wall_s is not None}
    cells = [[job.name for job in cell.jobs] for cell in row.cells if cell.series in asked]
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
