"""Labels marks in a figure: each label takes the first position around its mark that overlaps no mark and no other label.

Marks that overlap share one label with a line for each, from the highest to the lowest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from modbench.reports.figures.style import INK, POINTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Offsets in points, in order of preference. A label at the right of its mark begins there, one at the left ends there.
_PLACES: Sequence[tuple[float, float]] = (
    *((8, 0), (-8, 0), (0, 9), (0, -9), (7, 9), (-7, 9), (7, -9), (-7, -9)),
    *((7, 18), (-7, -18), (-7, 18), (7, -18), (0, 20), (0, -20), (12, 30), (-12, 30), (12, -30), (-12, -30)),
)
_SIZE = 8.0
# In points: marks closer than this overlap; half the extent of a mark; so much is free between two labels.
_CLOSE, _HALF, _GAP = 9.0, 4.0, 3.0

Box = tuple[float, float, float, float]


def label(axis: Axes, marks: Sequence[tuple[float, float, str]], obstacles: Sequence[Box] = ()) -> list[int]:
    """Label the marks of a figure whose axis limits are final; return which have no label, since no place for it is free.

    Args:
        axis: the axes that hold the marks.
        marks: x and y in data coordinates, and the label, in one line or several.
        obstacles: more boxes to avoid, (left, bottom, right, top) in data coordinates.
    """
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

    figure = axis.get_figure()
    assert isinstance(figure, Figure), "a section's axes belong directly to its figure"
    figure.draw_without_rendering()  # data coordinates are final only after the layout
    point, frame = figure.dpi / POINTS, axis.get_window_extent()
    places = [(float(x), float(y)) for x, y in axis.transData.transform([mark[:2] for mark in marks])]
    taken = [Bbox.from_bounds(x, y, 0, 0).padded(_HALF * point) for x, y in places]
    taken += [Bbox.from_extents(*box).transformed(axis.transData) for box in obstacles]
    without: list[int] = []
    for group in _together(marks, places, _CLOSE * point):
        at = fmean(marks[i][0] for i in group), fmean(marks[i][1] for i in group)
        text = "\n".join(marks[i][2] for i in group)
        written = axis.annotate(text, at, (0, 0), textcoords="offset points", va="center", fontsize=_SIZE, color=INK)
        for offset in _PLACES:
            written.set(position=offset, horizontalalignment=_alignment(offset))
            box = written.get_window_extent()
            inside = all(frame.contains(x, y) for x, y in box.get_points())
            if inside and not any(box.overlaps(each) for each in taken):
                taken.append(box.padded(_GAP * point, 0))
                break
        else:
            written.remove()
            without += group
    return without


def _together(
    marks: Sequence[tuple[float, float, str]], places: Sequence[tuple[float, float]], close: float
) -> list[list[int]]:
    """Group overlapping marks by their numbers, from the highest down."""
    groups: list[list[int]] = []
    for number in sorted(range(len(marks)), key=lambda i: marks[i][1], reverse=True):
        near = (group for group in groups if any(math.dist(places[number], places[i]) < close for i in group))
        if (group := next(near, None)) is None:
            groups.append(group := [])
        group.append(number)
    return groups


def _alignment(offset: tuple[float, float]) -> str:
    return "center" if offset[0] == 0 else "left" if offset[0] > 0 else "right"
