"""Labels marks in a figure: each label takes the first position around its mark that overlaps no mark and no other label.

Marks that overlap share one label with a line for each, from the highest to the lowest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Literal, TypeAlias

from modbench.reports.figures.style import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Align: TypeAlias = Literal["left", "right", "center"]
# Offsets in points and alignments, in order of preference.
_PLACES: Sequence[tuple[tuple[float, float], Align]] = (
    ((8, 0), "left"),
    ((-8, 0), "right"),
    ((0, 9), "center"),
    ((0, -9), "center"),
    ((7, 9), "left"),
    ((-7, 9), "right"),
    ((7, -9), "left"),
    ((-7, -9), "right"),
    ((7, 18), "left"),
    ((-7, -18), "right"),
    ((-7, 18), "right"),
    ((7, -18), "left"),
    ((0, 20), "center"),
    ((0, -20), "center"),
    ((12, 30), "left"),
    ((-12, 30), "right"),
    ((12, -30), "left"),
    ((-12, -30), "right"),
)
_SIZE = 8.0
# Marks closer than this, in points, overlap; so much is free between two labels.
_CLOSE, _GAP = 9.0, 3.0

Box = tuple[float, float, float, float]


def label(axis: Axes, marks: Sequence[tuple[float, float, str]], obstacles: Sequence[Box] = ()) -> list[int]:
    """Label the marks of a figure whose axis limits are final; return which have no label, since no place for it is free.

    Args:
        axis: the axes that hold the marks.
        marks: x and y in data coordinates, and the label, in one line or several.
        obstacles: more boxes to avoid, (left, bottom, right, top) in data coordinates.
    """
    from matplotlib.figure import Figure

    figure = axis.get_figure()
    assert isinstance(figure, Figure), "a panel's axes belong directly to its figure"
    figure.draw_without_rendering()  # data coordinates are final only after the layout
    to_points = 72 / figure.dpi
    transform = axis.transData

    def points(x: float, y: float) -> tuple[float, float]:
        px, py = transform.transform((x, y))
        return px * to_points, py * to_points

    frame = axis.get_window_extent()
    edges = (frame.x0 * to_points, frame.y0 * to_points, frame.x1 * to_points, frame.y1 * to_points)
    taken: list[Box] = []
    for x, y, _ in marks:
        px, py = points(x, y)
        taken.append((px - 4, py - 4, px + 4, py + 4))
    taken += [(*points(left, bottom), *points(right, top)) for left, bottom, right, top in obstacles]
    without: list[int] = []
    for group in _together(marks, points):
        x, y = fmean(marks[i][0] for i in group), fmean(marks[i][1] for i in group)
        text = "\n".join(marks[i][2] for i in group)
        written = axis.annotate(
            text, (x, y), (0, 0), textcoords="offset points", va="center", fontsize=_SIZE, color=INK
        )
        size = written.get_window_extent()
        boxes = [
            (_box(points(x, y), offset, align, size.width * to_points, size.height * to_points), offset, align)
            for offset, align in _PLACES
        ]
        free = [place for place in boxes if _within(place[0], edges) and not any(_meet(place[0], box) for box in taken)]
        if not free:
            written.remove()
            without += group
            continue
        box, offset, align = free[0]
        taken.append((box[0] - _GAP, box[1], box[2] + _GAP, box[3]))
        written.set_position(offset)
        written.set_horizontalalignment(align)
    return without


def _together(
    marks: Sequence[tuple[float, float, str]], points: Callable[[float, float], tuple[float, float]]
) -> list[list[int]]:
    """Group overlapping marks by their numbers, from the highest down."""
    groups: list[list[int]] = []
    for number in sorted(range(len(marks)), key=lambda i: marks[i][1], reverse=True):
        here = points(*marks[number][:2])
        near = (group for group in groups if any(math.dist(here, points(*marks[i][:2])) < _CLOSE for i in group))
        group = next(near, None)
        if group is None:
            groups.append([number])
        else:
            group.append(number)
    return groups


def _box(at: tuple[float, float], offset: tuple[float, float], align: Align, width: float, height: float) -> Box:
    x, y = at[0] + offset[0], at[1] + offset[1]
    left = {"left": x, "right": x - width, "center": x - width / 2}[align]
    return left, y - height / 2, left + width, y + height / 2


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _within(a: Box, edges: Box) -> bool:
    return a[0] >= edges[0] and a[2] <= edges[2] and a[1] >= edges[1] and a[3] <= edges[3]
