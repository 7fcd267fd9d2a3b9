"""Every time ratio against the baseline with its interval, one row each; those equal within the margin share a row."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import pandas as pd

from modbench.reports.figures.figure_data import RATIOS
from modbench.reports.figures.marks import Mark, Marks
from modbench.reports.figures.ratio_axis import ends_of, ratio_axis
from modbench.reports.figures.style import HAIR, MUTED, PAPER, beside, look, new_figure
from modbench.reports.model import Figure
from modbench.reports.panel import Panel
from modbench.reports.tables.load import Loaded
from modbench.reports.wording.arm_names import in_title, name, short
from modbench.reports.wording.words import TIMED, interval, is_number, times, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Rows of a figure at most; the rest are counted.
MOST_ROWS = 24
# Equivalent places that the caption names.
MOST_NAMED = 4
# An interval may leave the frame: one of a single noisy case would hide all the others.
ROOM = 1.25
_DECIDED = {"better", "worse", "equivalent"}

Row: TypeAlias = Any  # a row of `comparisons.csv` as a named tuple


def render(loaded: Loaded) -> list[Figure]:
    """Draw a figure for each workload that was timed."""
    if loaded.run.plan.suite.isoflop:  # sizes differ: a speed-up compares nothing
        return []
    every = loaded.comparisons
    shown = every[
        every.arm.isin([case.arm for case in loaded.arms_shown])
        & every.seq_len.isin(loaded.lengths_shown)
        & every.ratio.notna()
    ]
    sides = [(title, metric, shown[shown.metric == metric]) for title, metric in TIMED]
    return [_figure(loaded, title, metric, rows) for title, metric, rows in sides if not rows.empty]


def _figure(loaded: Loaded, title: str, metric: str, frame: pd.DataFrame) -> Figure:
    order = {case.arm: i for i, case in enumerate(loaded.arms)}
    rows: list[Row] = sorted(
        frame.itertuples(index=False), key=lambda row: (order[row.arm], row.dtype, row.batch_size, row.seq_len)
    )
    equal = [row for row in rows if row.verdict == "equivalent"]
    equal = equal if len(equal) > 1 else []
    alone = [row for row in rows if row.verdict != "equivalent"] if equal else rows
    kept = telling(alone, MOST_ROWS - bool(equal))
    made, (axis,) = new_figure(4.5, 0.75 + 0.19 * (len(kept) + bool(equal)))
    marks = Marks()
    over = f"{title}: speed-up over {in_title(loaded.arms[0])} (further right is better)"
    made.suptitle(over, x=0.01, ha="left", fontsize=9, color=MUTED)
    _draw(axis, loaded, kept, equal, marks)
    return Figure(
        f"forest-{metric.partition('/')[2]}",
        made,
        f"Speed-up of every arm over {name(loaded.arms[0])} with its interval: {title}",
        _caption(loaded, rows, equal, len(alone) - len(kept)),
        frame[list(RATIOS)],
        marks=marks,
        least=430,
    )


def telling(rows: Sequence[Row], most: int) -> list[Row]:
    """Return the rows to show, in their order: of too many those that are slower first, then those furthest from 1×."""
    if len(rows) <= most:
        return list(rows)
    order = sorted(range(len(rows)), key=lambda i: (rows[i].verdict != "worse", -abs(math.log(rows[i].ratio))))
    return [rows[i] for i in sorted(order[:most])]


def _draw(axis: Axes, loaded: Loaded, kept: Sequence[Row], equal: Sequence[Row], marks: Marks) -> None:
    from matplotlib.colors import to_rgba

    margin = loaded.run.plan.suite.margin
    looks = {case.arm: look(case) for case in loaded.arms}
    names = {case.arm: short(case) for case in loaded.arms}
    ratio_axis(axis, "x", ends_of([row.ratio for row in (*kept, *equal)], ROOM))
    axis.axvspan(1 / (1 + margin), 1 + margin, color=HAIR, linewidth=0)
    axis.axvline(1, color=MUTED, linewidth=0.8)
    _intervals(axis, kept, [looks[row.arm].color for row in kept])
    by_shape: dict[str, list[int]] = {}
    for y, row in enumerate(kept):
        by_shape.setdefault(looks[row.arm].marker, []).append(y)
    for shape, ys in by_shape.items():
        colors = [looks[kept[y].arm].color for y in ys]
        # The mark of a decided row is filled, any other is hollow.
        faces = [
            to_rgba(color, looks[kept[y].arm].opacity) if kept[y].verdict in _DECIDED else PAPER
            for y, color in zip(ys, colors, strict=True)
        ]
        places = [kept[y].ratio for y in ys], ys
        made = axis.scatter(*places, s=26, marker=shape, c=faces, edgecolors=colors, linewidths=1.1, zorder=3)
        marks.name(made, *(Mark(_said(kept[y], names), kept[y].arm) for y in ys))
    left = [
        f"{names[row.arm]}  {_place(row, kept)}" if i == 0 or kept[i - 1].arm != row.arm else _place(row, kept)
        for i, row in enumerate(kept)
    ]
    right = [f"{times(row.ratio)}  {words(row)}" for row in kept]
    if equal:
        ends = [end for row in equal for end in (row.ci_low, row.ci_high) if is_number(end)]
        axis.plot([min(ends), max(ends)], [len(kept)] * 2, color=MUTED, linewidth=4, alpha=0.5, solid_capstyle="butt")
        left.append(f"{len(equal)} equivalent")
        right.append(f"≈ within {100 * margin:g} %")
    _name_rows(axis, left, right)
    between = [y + 0.5 for y, (one, other) in enumerate(pairwise(kept)) if one.arm != other.arm]
    between += [len(kept) - 0.5] * bool(equal and kept)
    axis.hlines(between, 0, 1, transform=axis.get_yaxis_transform(), color=HAIR, linewidth=0.6)


def _intervals(axis: Axes, rows: Sequence[Row], colors: Sequence[str]) -> None:
    from matplotlib.collections import LineCollection

    known = [(y, row, color) for y, (row, color) in enumerate(zip(rows, colors, strict=True)) if is_number(row.ci_low)]
    lines = [[(row.ci_low, y), (row.ci_high, y)] for y, row, _ in known]
    axis.add_collection(LineCollection(lines, colors=[color for *_, color in known], linewidths=1.3, alpha=0.7))


def _name_rows(axis: Axes, left: Sequence[str], right: Sequence[str]) -> None:
    axis.set_yticks(range(len(left)), left)
    axis.set_ylim(len(left) - 0.4, -0.6)
    axis.grid(visible=False, axis="y")
    axis.tick_params(axis="y", length=0)
    for y, text in enumerate(right):
        beside(axis, y, text)


def _place(row: Row, rows: Sequence[Row]) -> str:
    """The length, and what else distinguishes rows of one arm."""
    parts = [f"T {row.seq_len:,}"]
    parts += [f"B {row.batch_size:,}"] * (len({each.batch_size for each in rows}) > 1)
    parts += [str(row.dtype)] * (len({each.dtype for each in rows}) > 1)
    return ", ".join(parts)


def _said(row: Row, names: dict[str, str]) -> str:
    said = f"{names[row.arm]}, T = {row.seq_len:,}, B = {row.batch_size:,}: {times(row.ratio)} {interval(row)} {words(row)}"
    return " ".join(said.split())


def _caption(loaded: Loaded, rows: Sequence[Row], equal: Sequence[Row], left_out: int) -> str:
    margin = f"{100 * loaded.run.plan.suite.margin:g} %"
    counts = Counter(words(row).lstrip("▲▼≈△?⚠ ") for row in rows)
    said = [
        f"Of {len(rows)} against {name(loaded.arms[0])}: {', '.join(f'{n} {word}' for word, n in counts.items())}.",
        f"Lines are 95 % intervals. In the shaded band, ±{margin}, a difference is too small to matter.",
        "Hollow marks are undecided.",
    ]
    if equal:
        names = {case.arm: short(case) for case in loaded.arms}
        listed = [f"{names[row.arm]} at {_place(row, rows)}" for row in equal[:MOST_NAMED]]
        listed += [f"{len(equal) - MOST_NAMED} more"] * (len(equal) > MOST_NAMED)
        said.append(f"{len(equal)} equivalent within {margin}: {'; '.join(listed)}.")
    if left_out:
        said.append(f"{left_out} more are not drawn: those nearest to 1×. The table has them.")
    return " ".join(said)


READING = (
    "Each mark is the speed-up of one arm at one place, and its line the 95 % interval: the shorter the line, the "
    "surer the number. Right of the shaded band an arm is faster by more than matters, left of it slower. A line that"
    " crosses the edge of the band is not decided. How much faster it may become with more launches is not shown."
)

PANEL = Panel(title="How sure is each speed-up?", order=45, span=12, render=render, draws=True, reading=READING)
