"""Parts of figures that the routing panels share: dot plots, a percent axis, reference lines."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from modbench.reports.figures.style import MUTED
from modbench.reports.panels._routing import Arm, Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def dots(axis: Axes, series: Sequence[tuple[Arm, Sequence[Point], bool]], labels: Sequence[str]) -> None:
    """Draw points with intervals (dotted for controls) and single seeds as ticks: a row per bin, arms slightly apart.

    Args:
        axis: the axes to draw on.
        series: arms, their points, and whether their marks are hollow.
        labels: labels of the rows, from the top.
    """
    step = 0.7 / max(1, len(series))
    for number, (arm, points, hollow) in enumerate(series):
        style, shade = arm.look, arm.look.opacity
        for point in points:
            y = labels.index(point.label) + (number - (len(series) - 1) / 2) * step
            if point.low is not None and point.high is not None:
                dash = (0, (1.5, 1)) if arm.control else "-"
                ends = [point.low, point.high]
                axis.plot(ends, [y, y], color=style.color, linewidth=1.3, linestyle=dash, alpha=shade)
            ticks = [y] * len(point.seeds)
            axis.plot(point.seeds, ticks, "|", markersize=6, color=style.color, alpha=0.55 * shade)
            mark = axis.plot([point.value], [y], style.marker, markersize=4.5, color=style.color, alpha=shade)
            if hollow:
                mark[0].set_markerfacecolor("none")
    axis.set_ylim(len(labels) - 0.4, -0.6)
    axis.grid(visible=False, axis="y")
    axis.tick_params(axis="y", length=0)


def titled(axis: Axes, text: str, *, most: int) -> None:
    """Set a title, in several lines if it has more than `most` letters: it may hold an arm's name, of any length.

    matplotlib's own wrapping would read a dollar sign in a name as mathematics.
    """
    axis.set_title(textwrap.fill(text, most))


def points_of(series: Sequence[tuple[Arm, Sequence[Point], bool]]) -> pd.DataFrame:
    """Return what `dots` draws: a row for each arm and bin."""
    rows = [
        {
            "arm": arm.case.arm,
            "bin": point.label,
            "value": point.value,
            "ci_low": point.low,
            "ci_high": point.high,
            "n": point.n,
            "seeds": ";".join(f"{value:.9g}" for value in point.seeds),
        }
        for arm, points, _ in series
        for point in points
    ]
    return pd.DataFrame(rows)


def percent_axis(axis: Axes) -> None:
    """Show shares along x as whole percentages, from 0."""
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axis.set_xlim(left=0)


def hairline(axis: Axes, at: float, *, vertical: bool = True) -> None:
    """Draw a thin reference line."""
    (axis.axvline if vertical else axis.axhline)(at, color=MUTED, linewidth=0.8, zorder=0)
