"""Every ratio of times with its interval, over dense of equal cost and over the baseline; equal ones share a row."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from modbench.harness.stats.contrast import EQUIVALENT, WORSE
from modbench.reports.figures.axes import draw_lines, ends_of, name_rows, ratio_axis, thin_ticks
from modbench.reports.figures.style import HAIR, MUTED, PAPER, Marks, beside, headline, in_lines, look, new_figure
from modbench.reports.model import Estimate, Figure, Finding, Sentence, where_it_ran
from modbench.reports.panel import Panel
from modbench.reports.panels.speedup_map import said_on_hover
from modbench.reports.tables.findings import Against, against, between, figure_rows
from modbench.reports.tables.load import Loaded
from modbench.reports.wording import DECIDED, TIMED, in_title, name
from modbench.reports.writers.number_format import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Rows of a figure at most; the rest are counted. The height of one in inches.
MOST_ROWS, ROW = 24, 0.19
# An interval may leave the frame: one of a single noisy case would hide all the others.
ROOM = 1.25
# What the dense models of equal cost are called together.
SOLVED = "dense of equal cost"


def render(loaded: Loaded) -> list[Figure]:
    """Draw a figure for each workload that was timed."""
    if loaded.sizes_differ:
        return []
    choices = against(loaded, TIMED)
    return [
        replace(_figure(loaded, title, rows, choice), against=choice.title * (len(choices) > 1))
        for choice in choices
        for metric, title in TIMED.items()
        if (rows := _rows(loaded, metric, choice))
    ]


def _rows(loaded: Loaded, metric: str, choice: Against) -> list[Finding]:
    """What was found of each pair at each place, by arm."""
    order = operator.attrgetter("place.dtype", "place.batch_size", "place.seq_len")
    return [
        found
        for pair in choice.pairs
        for found in sorted(between(loaded, metric, *pair, loaded.lengths_shown), key=order)
        if found.typical.value is not None
    ]


def _figure(loaded: Loaded, title: str, rows: Sequence[Finding], choice: Against) -> Figure:
    equal = [found for found in rows if found.verdict == EQUIVALENT]
    equal = equal if len(equal) > 1 else []
    alone = [found for found in rows if found.verdict != EQUIVALENT] if equal else rows
    kept = most_informative(alone, MOST_ROWS - bool(equal))
    left = _left(kept)
    row = ROW * max((text.count("\n") + 1 for text in left), default=1)
    made, (axis,) = new_figure(4.5, 0.75 + row * (len(kept) + bool(equal)))
    marks, left_out = Marks(), len(alone) - len(kept)
    over = SOLVED if choice.equal_cost else in_title(loaded.baseline)
    headline(made, f"{title}: speed-up over {over} (further right is better)")
    _draw(axis, loaded, kept, equal, marks, left)
    thin_ticks(made)  # names and verdicts may leave little room between them
    caption = Sentence(
        "{all} speed-ups over {base}. Shaded: ±{margin}."
        + " {left_out} more are not drawn: those nearest to 1×." * bool(left_out),
        all=len(rows),
        base=SOLVED if choice.equal_cost else loaded.baseline,
        margin=Estimate(loaded.suite.margin, kind="share"),
        left_out=left_out,
    )
    return Figure(
        f"forest-{rows[0].metric.partition('/')[2]}" + "-cost" * choice.equal_cost,
        made,
        f"Speed-up of every arm over {SOLVED if choice.equal_cost else name(loaded.baseline)} with its interval: {title}",
        caption,
        figure_rows(loaded, rows),
        marks=marks,
        least=430,
    )


def _ratio(found: Finding) -> float:
    assert found.typical.value is not None, "a row has a ratio"
    return found.typical.value


def most_informative(rows: Sequence[Finding], most: int) -> list[Finding]:
    """Return the rows to show, in their order: of too many those that are slower first, then those furthest from 1×."""
    order = sorted(range(len(rows)), key=lambda i: (rows[i].verdict != WORSE, -abs(math.log(_ratio(rows[i])))))
    return [rows[i] for i in sorted(order[:most])]


def _left(kept: Sequence[Finding]) -> list[str]:
    """What stands left of each row: its place, and the arm's name, whose lines share the arm's rows."""
    said = list[str]()
    for _, rows in groupby(kept, key=lambda found: found.case.arm):
        arms = [*rows]
        lines = in_lines(arms[0].case, short=True).split("\n")
        if len(lines) > len(arms):
            lines = ["\n".join(lines)]
        lines += [""] * (len(arms) - len(lines))
        places = [each.place for each in kept]
        said += [
            f"{line}  {plain(where_it_ran(found.place, places)).replace(' = ', ' ')}".strip()
            for line, found in zip(lines, arms, strict=True)
        ]
    return said


def _draw(
    axis: Axes, loaded: Loaded, kept: Sequence[Finding], equal: Sequence[Finding], marks: Marks, left: Sequence[str]
) -> None:
    """Draw the rows; `left` names them."""
    from matplotlib.colors import to_rgba

    margin = loaded.suite.margin
    looks = {case.arm: look(case) for case in loaded.arms}
    ratio_axis(axis, "x", ends_of([_ratio(found) for found in (*kept, *equal)], ROOM))
    axis.axvspan(1 / (1 + margin), 1 + margin, color=HAIR, linewidth=0)
    axis.axvline(1, color=MUTED, linewidth=0.8)
    for y, found in enumerate(kept):
        style, ends = looks[found.case.arm], found.typical.ends
        if ends is not None:
            draw_lines(axis, [(ends[0], y, ends[1], y, style.color)], 1.3, 0.7)
        # The mark of a decided row is filled, any other is hollow.
        face = to_rgba(style.color, style.opacity) if found.verdict in DECIDED else PAPER
        dot = axis.scatter(
            [_ratio(found)], [y], s=26, marker=style.marker, c=[face], edgecolors=style.color, linewidths=1.1, zorder=3
        )
        marks.name(dot, said_on_hover(found.case, found.place.seq_len, f"B = {found.place.batch_size}", found))
        beside(axis, y, plain(replace(found, typical=found.typical.alone).judged()))
    if equal:
        within = [end for found in equal for end in found.typical.ends or ()]
        axis.plot(
            [min(within), max(within)], [len(kept)] * 2, color=MUTED, linewidth=4, alpha=0.5, solid_capstyle="butt"
        )
        left = [*left, f"{len(equal)} equivalent"]
        beside(axis, len(kept), plain(Sentence("≈ within {margin}", margin=Estimate(margin, kind="share"))))
    name_rows(axis, left)
    between = [y + 0.5 for y, (one, other) in enumerate(pairwise(kept)) if one.case.arm != other.case.arm]
    between += [len(kept) - 0.5] * bool(equal and kept)
    axis.hlines(between, 0, 1, transform=axis.get_yaxis_transform(), color=HAIR, linewidth=0.6)


READING = (
    "Each mark is the speed-up of one arm at one place, and its line the 95 % interval: the shorter the line, the surer the "
    "number. Right of the shaded band an arm is faster by more than matters, left of it slower; in the band a difference is too "
    "small to matter. A line that crosses the edge of the band is not decided, and its mark is hollow. How much faster it may "
    "become with more launches is not shown."
)

PANEL = Panel(title="How sure is each speed-up?", order=45, span=12, render=render, draws=True, reading=READING)
