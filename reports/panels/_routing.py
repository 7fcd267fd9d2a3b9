"""Parts of figures that the routing panels share: dot plots, titles, reference lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import pandas as pd

from modbench.reports.figures.axes import name_rows
from modbench.reports.figures.style import MUTED
from modbench.reports.questions.routing import Arm, Bin
from modbench.reports.tables.cell import columns_of
from modbench.reports.writers.text import wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Arms, and the groups of tokens that are drawn of each.
Series: TypeAlias = Sequence[tuple[Arm, Sequence[Bin]]]


def dots(axis: Axes, series: Series, labels: Sequence[str], *, shown: Sequence[str] = (), at: float) -> None:
    """Draw numbers with intervals (dotted for controls) and single seeds as ticks: a row per group, arms slightly apart.

    Args:
        axis: the axes to draw on.
        series: arms and their numbers; marks are hollow of those that saw the future, where their loss is drawn.
        labels: groups, a row of each from the top.
        shown: labels of the rows, where they are others.
        at: where the reference line stands.
    """
    step = 0.7 / max(1, len(series))
    for number, (arm, bins) in enumerate(series):
        style, shade = arm.look, arm.look.opacity
        for each in bins:
            y = labels.index(each.label) + (number - (len(series) - 1) / 2) * step
            low, high = each.estimate.low, each.estimate.high
            if low is not None and high is not None:
                dash = (0, (1.5, 1)) if arm.control else "-"
                axis.plot([low, high], [y, y], color=style.color, linewidth=1.3, linestyle=dash, alpha=shade)
            ticks = [y] * len(each.seeds)
            axis.plot(each.seeds, ticks, "|", markersize=6, color=style.color, alpha=0.55 * shade)
            mark = axis.plot([each.value], [y], style.marker, markersize=4.5, color=style.color, alpha=shade)
            if each.estimate.kind == "difference" and arm.saw_the_future:
                mark[0].set_markerfacecolor("none")
    name_rows(axis, shown or labels)
    hairline(axis, at)


def titled(axis: Axes, text: str, *, most: int) -> None:
    """Set a title, in several lines if it has more than `most` letters: it may hold an arm's name, of any length.

    matplotlib's own wrapping would read a dollar sign in a name as mathematics.
    """
    axis.set_title("\n".join(wrapped([text], most)))


def data_of(series: Series) -> pd.DataFrame:
    """Return what `dots` draws: a row for each arm and group."""
    rows = [
        {
            "arm": arm.case.arm,
            "bin": each.label,
            **columns_of(each.estimate),
            "n": each.n,
            "seeds": ";".join(f"{value:.9g}" for value in each.seeds),
        }
        for arm, bins in series
        for each in bins
    ]
    return pd.DataFrame(rows)


def of_labels(arm: Arm, bins: Sequence[Bin], labels: Sequence[str]) -> tuple[Arm, list[Bin]]:
    """Return an arm with those of its groups that have a row."""
    return arm, [each for each in bins if each.label in labels]


def hairline(axis: Axes, at: float, *, vertical: bool = True) -> None:
    """Draw a thin reference line."""
    (axis.axvline if vertical else axis.axhline)(at, color=MUTED, linewidth=0.8, zorder=0)
