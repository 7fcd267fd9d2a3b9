"""A heat map: cells in nine colours, each with its number, hatched where nothing is decided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from modbench.reports.figures.style import MAP, MAP_INK, MUTED, PAPER, Mark, Marks

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Cell(NamedTuple):
    """One cell.

    Attributes:
        bin: of its colour, 0 to 8; None: it has no number, and no colour.
        text: its number.
        below: what stands below it, smaller.
        hatched: whether it is not decided.
        mark: what it says on hover.
    """

    bin: int | None
    text: str
    below: str
    hatched: bool
    mark: Mark


def draw(axis: Axes, rows: Sequence[Sequence[Cell]], columns: Sequence[str], marks: Marks, size: float) -> None:
    """Draw cells of width and height 1, with numbers of `size` points; the first row is at the top."""
    import seaborn as sns
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Rectangle

    sns.heatmap(
        pd.DataFrame([[each.bin for each in row] for row in rows], dtype=float),
        ax=axis,
        cmap=ListedColormap(list(MAP)),
        vmin=0,
        vmax=8,
        cbar=False,
        linewidths=1.5,
        linecolor=PAPER,
        xticklabels=list(columns),
    )
    (cells,) = axis.collections
    marks.name(cells, *(each.mark for row in rows for each in row))
    for y, row in enumerate(rows):
        for x, each in enumerate(row):
            ink = MUTED if each.bin is None else MAP_INK[each.bin]
            up = 0.1 if each.below else 0
            for down, written, points in ((0.5 - up, each.text, size), (0.78, each.below, 6.5)):
                if written:  # inside its cell, so that the layout need not ask how wide it is
                    label = axis.text(x + 0.5, y + down, written, ha="center", va="center", color=ink, fontsize=points)
                    label.set_in_layout(False)
            if each.hatched:
                axis.add_patch(
                    Rectangle((x, y), 1, 1, fill=False, hatch="///", edgecolor=MUTED, linewidth=0, alpha=0.5)
                )
    axis.grid(visible=False)
    axis.tick_params(length=0)
    axis.tick_params(axis="y", rotation=0)
