"""The rule of a search: which cells of a row it measures next, given what it has found so far. Nothing is random in it.

A row holds one arm's cells from the shortest length to the longest. A search halves it until it knows between which two
neighbours the arm's effect changes its sign. Then it goes outwards from these two, cell by cell, as long as the interval of the
last one includes 0: so the length where the arm breaks even has a decided cell on both sides, where the row has one.

The rule reads only what was measured, not in which order: whoever applies it again to the same effects gets the same cells.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Reading(NamedTuple):
    """The result of a cell for an arm against another.

    Attributes:
        pays: whether the effect is at least 0; None if the cell has no number.
        decided: whether its interval excludes 0.
    """

    pays: bool | None
    decided: bool


# The readings of one arm against one other, by the cell's place in its row.
Readings = Mapping[int, Reading]


class Bracket(NamedTuple):
    """Where the sign changes.

    Attributes:
        below: the last cell that does not pay; -1 if there is none.
        above: the first that pays, or that has no number; the number of cells if there is none.
        wanted: the cell that must be measured to know more; None if the two are neighbours.
    """

    below: int
    above: int
    wanted: int | None


def bracket(cells: int, known: Readings) -> Bracket:
    """Halve a row as far as its readings allow.

    A cell without a number counts as the end of the row: what does not run at a length does not run at a longer one.

    Args:
        cells: number of cells in the row.
        known: the readings.
    """
    below, above = -1, cells
    while above - below > 1:
        middle = (below + above) // 2
        if middle not in known:
            return Bracket(below, above, middle)
        below, above = (middle, above) if known[middle].pays is False else (below, middle)
    return Bracket(below, above, None)


def next_cells(cells: int, known: Readings) -> list[int]:
    """Return the cells to measure next; none if the search has ended."""
    found = bracket(cells, known)
    if found.wanted is not None:
        return [found.wanted]
    asked = []
    for at, step in ((found.below, -1), (found.above, 1)):
        while at in known and known[at].pays is not None and not known[at].decided:
            at += step  # noqa: PLW2901  # it walks
        if 0 <= at < cells and at not in known:
            asked.append(at)
    return asked


def next_cells_of_all(cells: int, targets: Sequence[Readings]) -> list[int]:
    """Return the cells that any of several searches along one row measures next, ascending: a cell serves them all."""
    return sorted({at for known in targets for at in next_cells(cells, known)})


def usual(cells: int, targets: int) -> int:
    """Return about how many cells of a row the searches for so many other arms measure (tests/bench/search.py)."""
    return min(cells, math.ceil(math.log2(cells + 1)) + targets)
