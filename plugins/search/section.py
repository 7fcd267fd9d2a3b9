"""What a search measured of its grid, and how long that took."""

from __future__ import annotations

from collections.abc import Iterator

from modbench.extend import Estimate, Loaded, Section, Sentence
from modbench.plugins.search.rule import rows_of


def render(loaded: Loaded) -> Iterator[Sentence]:
    """Say what the searches of a run spent; nothing if nothing was searched."""
    cells = [cell for row in rows_of(loaded.whole_plan).values() for cell in row.cells]
    asked = {job.series for job in loaded.run.plan.jobs if job.rule}
    took = {planned.job.name: planned.wall_s for planned in loaded.tables.jobs if planned.wall_s is not None}
    names = [[job.name for job in cell.jobs] for cell in cells if cell.series in asked]
    # Of each cell whose processes were all asked for and have a record.
    seconds = [sum(took[name] for name in each) for each in names if took.keys() >= {*each}]
    if cells:
        words = "Searched: {cells} of {of} cells of the grid, {spent} of measuring."
        yield Sentence(words, cells=len(seconds), of=len(cells), spent=Estimate(sum(seconds), unit="s"))


SECTION = Section(
    title="What did the search spend?",
    order=74,
    span=12,
    render=render,
    told=True,
    reading="The cells of the grid that the search measured, and what they took.",
    rules=frozenset({"bisection"}),
)
