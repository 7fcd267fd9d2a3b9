"""The break-even line on a map of arms (rows) by length (columns): a mark in each row, joined between neighbouring capacities."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from modbench.harness.core.case import Case
from modbench.reports.figures.style import INK
from modbench.reports.questions.break_even import Line, lines
from modbench.reports.tables.load import Loaded

if TYPE_CHECKING:
    from matplotlib.axes import Axes

READING = (
    "Thick line: from this length on the arm pays against the baseline, in typical calls and in the mean, read from all lengths "
    "together; at the left edge at every length, at the right at none. Dashed: where else the line may lie (95 %)."
)
# Where the numbers of a cell stand: heights in a row, and half their width in points.
_NUMBERS, _HALF_WIDTH = (0.2, 0.92), 14.0
_BAND_AT = 0.955


def shown(loaded: Loaded, metric: str) -> dict[str, Line]:
    """The line of each arm of the map against the report's baseline, at the place that figures show."""
    every = lines(loaded, arms={case.arm for case in loaded.arms_shown}, metrics=(metric,))
    found: dict[str, Line] = {}
    for line in every:
        if line.axis == "seq_len" and line.baseline.arm == loaded.arms[0].arm and not line.withheld:
            found.setdefault(line.case.arm, line)
    return found


def draw(axis: Axes, arms: Sequence[Case], lengths: Sequence[int], known: dict[str, Line], cell_points: float) -> bool:
    """Draw the lines of the arms on a map whose cells are one unit wide and high; return whether there was one.

    Args:
        axis: of the map.
        arms: its rows.
        lengths: its columns.
        known: lines by arm.
        cell_points: width of a cell in points.
    """
    places: list[float | None] = []
    for y, case in enumerate(arms):
        line = known.get(case.arm)
        x = None if line is None else _place(line, lengths)
        places.append(x)
        if line is None:
            continue
        if x is not None:
            _tick(axis, x, y, near=_near(x, len(lengths)) < _HALF_WIDTH / cell_points)
        low, high = _band(line, lengths)
        if high > low:
            axis.plot([low, high], [y + _BAND_AT] * 2, color=INK, linewidth=1, linestyle=(0, (2.5, 2)), clip_on=False)
    for y, (x, below) in enumerate(itertools.pairwise(places)):
        if x is not None and below is not None and _neighbours(arms[y], arms[y + 1]):
            axis.plot([x, below], [y + 1, y + 1], color=INK, linewidth=2, clip_on=False, solid_capstyle="butt")
    return any(line.later.verdict != "not monotone" for line in known.values())


def _tick(axis: Axes, x: float, y: int, *, near: bool) -> None:
    """A mark through the row at x; beside numbers it leaves them free."""
    for start, end in ((0.0, _NUMBERS[0]), (_NUMBERS[1], 1.0)) if near else ((0.0, 1.0),):
        axis.plot([x, x], [y + start, y + end], color=INK, linewidth=2, clip_on=False, solid_capstyle="butt")


def _near(x: float, columns: int) -> float:
    """Distance to the nearest centre of a cell; the edges of the map are near none."""
    if x in {0, columns}:
        return math.inf
    return min(abs(x - i - 0.5) for i in range(columns))


def _neighbours(case: Case, other: Case) -> bool:
    """Whether two rows are capacities of one model."""
    parts = [[part for part in each.arm_parts if not part.startswith("c")] for each in (case, other)]
    both = case.config.capacity is not None and other.config.capacity is not None
    return both and case.model == other.model and parts[0] == parts[1]


def _place(line: Line, lengths: Sequence[int]) -> float | None:
    """Where the mark stands; None where nothing is claimed."""
    found = line.later
    if found.verdict in {"always", "never"}:
        return 0.0 if found.verdict == "always" else float(len(lengths))
    if found.verdict != "crossing":
        return None
    return 0.0 if found.typical.value is None else _position(found.typical.value, lengths)


def _band(line: Line, lengths: Sequence[int]) -> tuple[float, float]:
    found, point = line.later, line.later.typical
    if found.verdict not in {"crossing", "undecided"}:
        return 0.0, 0.0
    low = 0.0 if point.low is None else _position(point.low, lengths)
    return low, float(len(lengths)) if point.high is None else _position(point.high, lengths)


def _position(at: float, lengths: Sequence[int]) -> float:
    """A length between the centres of its neighbours' cells, on the log scale."""
    after = min(max(bisect.bisect_right(lengths, at), 1), len(lengths) - 1)
    here, there = lengths[after - 1], lengths[after]
    share = math.log(at / here) / math.log(there / here)
    return after - 0.5 + min(max(share, 0.0), 1.0)
