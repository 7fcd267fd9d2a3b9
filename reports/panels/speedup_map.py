"""Speed-up over the anchor by arm (capacity) and sequence length, a map per timed workload, with the break-even line."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from modbench.reports.figures.figure_data import RATIOS, rows_of
from modbench.reports.figures.marks import Mark, Marks
from modbench.reports.figures.style import MAP, MAP_INK, MUTED, PAPER, bin_of, new_figure
from modbench.reports.model import Figure, Sentence
from modbench.reports.panel import Panel
from modbench.reports.panels import _break_even
from modbench.reports.sentences.first_screen import residuals
from modbench.reports.tables.load import Loaded
from modbench.reports.wording.arm_names import name, short
from modbench.reports.wording.words import TIMED, interval, is_number, times, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from modbench.harness.core.case import Case

# Of the figure, in inches of 72 points; the share of it that maps fill beside the names of the arms.
WIDTH, POINTS, MAPS_SHARE = 5.0, 72, 0.75
# A map of many cells is wider, up to a limit; names of arms and one cell, in inches.
WIDEST, NAMES, CELL = 7.5, 1.3, 0.4
# With more lengths a cell has room for its ratio alone.
FEW_LENGTHS = 7
UNDECIDED = {"inconclusive", "different", "contaminated"}


def render(loaded: Loaded) -> list[Figure]:
    """Draw cells coloured by log2 speed-up in nine bins; undecided cells hatched; failures named."""
    sides = [(title, metric) for title, metric in TIMED if (loaded.comparisons.metric == metric).any()]
    arms = loaded.arms_shown
    if not sides or not arms or loaded.run.plan.suite.isoflop:  # sizes differ: a speed-up compares nothing
        return []
    cells = len(sides) * len(loaded.lengths_shown)
    whole = min(WIDEST, max(WIDTH, NAMES + CELL * cells))
    made, axes = new_figure(whole, 0.8 + 0.36 * len(arms), len(sides), share_y=True)
    width = whole * POINTS * MAPS_SHARE / cells
    lined, marks = False, Marks()
    for axis, (title, metric) in zip(axes, sides, strict=True):
        _draw(axis, loaded, title, metric, marks)
        lined |= _break_even.draw(axis, arms, loaded.lengths_shown, _break_even.shown(loaded, metric), width)
    axes[0].set_yticks([i + 0.5 for i in range(len(arms))], [short(case) for case in arms])
    reading = (
        "Speed-up over {anchor}, ± half the 95 % interval. Purple is faster, orange slower, grey within 9 % "
        "of 1×; hatched: the interval, or a disturbed or unchecked machine, leaves it undecided. The dense rows are the "
        f"alternatives of equal cost. {_break_even.READING + ' ' if lined else ''}"
        "{residuals}"
    )
    caption = Sentence(reading, anchor=loaded.arms[0], residuals=residuals(loaded) or "")
    label = "Speed-up over the anchor by arm and sequence length"
    return [
        Figure(
            "map",
            made,
            label,
            caption,
            _data(loaded, [metric for _, metric in sides]),
            wide=True,
            marks=marks,
        )
    ]


def _data(loaded: Loaded, metrics: list[str]) -> pd.DataFrame:
    found = (
        loaded.pair(case.arm, metric, length)
        for metric in metrics
        for case in loaded.arms_shown
        for length in loaded.lengths_shown
    )
    return rows_of(found, RATIOS)


def _draw(axis: Axes, loaded: Loaded, title: str, metric: str, marks: Marks) -> None:
    import numpy as np
    import seaborn as sns
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Rectangle

    arms, lengths = loaded.arms_shown, loaded.lengths_shown
    rows = [[loaded.pair(case.arm, metric, length) for length in lengths] for case in arms]
    bins = np.array([[_bin(row) for row in line] for line in rows], dtype=float)
    sns.heatmap(
        bins,
        ax=axis,
        cmap=ListedColormap(list(MAP)),
        vmin=0,
        vmax=8,
        cbar=False,
        linewidths=1.5,
        linecolor=PAPER,
        xticklabels=[str(length) for length in lengths],
    )
    (cells,) = axis.collections
    said = (
        _mark(case, length, title, row)
        for case, line in zip(arms, rows, strict=True)
        for length, row in zip(lengths, line, strict=True)
    )
    marks.name(cells, *said)
    few = len(lengths) <= FEW_LENGTHS
    for y, line in enumerate(rows):
        for x, row in enumerate(line):
            text, spread, ink = _text(row)
            spread = spread if few else ""  # on hover, and in the table
            up = 0.1 if spread else 0
            for down, written, size in ((0.5 - up, text, 8.5 if few else 6.5), (0.78, spread, 6.5)):
                if written:  # inside its cell, so that the layout need not ask how wide it is
                    label = axis.text(x + 0.5, y + down, written, ha="center", va="center", color=ink, fontsize=size)
                    label.set_in_layout(False)
            if row is not None and row.status == "ok" and (row.verdict in UNDECIDED or not loaded.checked):
                axis.add_patch(
                    Rectangle((x, y), 1, 1, fill=False, hatch="///", edgecolor=MUTED, linewidth=0, alpha=0.5)
                )
    axis.set_title(title)
    axis.set_xlabel("tokens per sequence")
    axis.grid(visible=False)
    axis.tick_params(length=0)
    axis.tick_params(axis="y", rotation=0)


def _mark(case: Case, length: int, title: str, row: pd.Series | None) -> Mark:
    """What a cell says on hover: `MoD 0.125, T = 512, forward pass: 1.62× [1.60–1.65] ▲ faster`."""
    told = "not measured" if row is None else f"{row.status}: {row.reason}"
    if row is not None and is_number(row.ratio):
        told = f"{times(row.ratio)} {interval(row)} {words(row)}"
    return Mark(f"{name(case)}, T = {length:,}, {title}: {told}", case.arm)


def _bin(row: pd.Series | None) -> float:
    return float(bin_of(math.log2(row.ratio))) if row is not None and is_number(row.ratio) else math.nan


def _text(row: pd.Series | None) -> tuple[str, str, str]:
    if row is None or not is_number(row.ratio):
        return ("failed" if row is not None and row.status == "failed" else "–"), "", MUTED
    spread = f"±{(row.ci_high - row.ci_low) / 2:.2f}" if is_number(row.ci_low) else ""
    return f"{row.ratio:.2f}", spread, MAP_INK[bin_of(math.log2(row.ratio))]


READING = (
    "Each cell is one arm at one sequence length. Its number is the time of the anchor divided by the time of the "
    "arm: 1.50 means that the arm does the same call in two thirds of the time, and above 1 is better. Purple is "
    "faster, orange is slower, and a hatched cell is not decided. The map says nothing of loss."
)

PANEL = Panel(
    title="Where does it pay? Speed-up by capacity and length",
    order=20,
    span=7,
    render=render,
    draws=True,
    reading=READING,
)
