"""Where the promised gain goes: from the time that FLOPs promise, part by part, to the time that was measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

import pandas as pd

from modbench.reports.figures.axes import ticks
from modbench.reports.figures.marks import Mark, Marks
from modbench.reports.figures.style import INK, MAP, MAP_INK, MUTED, beside, look, new_figure
from modbench.reports.model import Block, Estimate, Figure, Sentence
from modbench.reports.panel import Panel
from modbench.reports.questions.waterfall import Fall, blocks, falls
from modbench.reports.tables.load import Loaded, default_arm
from modbench.reports.wording.arm_names import in_title, name, short
from modbench.reports.wording.words import TIMED
from modbench.reports.writers.number_format import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# More time, and less.
SLOWER, FASTER = MAP[1], MAP[7]
UNEXPLAINED, ON_DEVICE, MEASURED = "unexplained", "on the device", "measured"
Step: TypeAlias = tuple[str, float, float]
_TITLES = {metric: title for title, metric in TIMED}


def render(loaded: Loaded) -> Iterator[Block]:
    """Take each workload apart, of the arm that the page shows first at the longest length; then the numbers of all arms."""
    first = default_arm(loaded)
    if first is None or not loaded.lengths or loaded.run.plan.suite.isoflop:
        return
    length = loaded.lengths[-1]
    every = falls(loaded, loaded.arms_shown, list(_TITLES), length)
    made = [_figure(metric, found) for metric, found in every if found.case.arm == first.arm]
    if not made:
        return
    yield from made
    yield from blocks(every)


def _figure(metric: str, found: Fall) -> Figure:
    rows = _steps(found)
    made, (axis,) = new_figure(4.5, 0.7 + 0.21 * len(rows))
    title = f"{_TITLES[metric]}: time as a share of {in_title(found.baseline)}'s (further left is better)"
    made.suptitle(title, x=0.01, ha="left", fontsize=9, color=MUTED)
    marks = Marks()
    _draw(axis, found, rows, marks)
    frame = pd.DataFrame(
        [
            {"arm": found.case.arm, "baseline_arm": found.baseline.arm, "seq_len": found.case.place.seq_len}
            | {"metric": metric, "part": part, "from_share": start, "to_share": end}
            for part, start, end in rows
        ]
    )
    label = f"From promised to measured time of {name(found.case)}: {_TITLES[metric]}"
    identity = f"waterfall-{metric.partition('/')[2]}"
    return Figure(identity, made, label, _caption(found), frame, marks=marks, least=430)


def _steps(found: Fall) -> list[Step]:
    """Name, start and end of each row; a sum starts where it ends."""
    rows = [(short(found.baseline), 1.0, 1.0), ("FLOPs saved", 1.0, found.promised)]
    rows.append(("promised", found.promised, found.promised))
    at = found.promised
    for part, share in found.parts.items():
        rows.append((part, at, at + share))
        at += share
    if found.predicted:
        rows.append(("attainable here", at, at))
    rows.append((_rest(found), at, found.measured))
    return [*rows, (MEASURED, found.measured, found.measured)]


def _rest(found: Fall) -> str:
    """What leads to the measured time after the known parts."""
    return UNEXPLAINED if found.predicted else ON_DEVICE


def _draw(axis: Axes, found: Fall, rows: list[Step], marks: Marks) -> None:
    low, high = _ends(found, rows)
    axis.set_xlim(low, high)
    steps = [(y, *row) for y, row in enumerate(rows) if row[1] != row[2]]
    bars = axis.barh(
        [y for y, *_ in steps],
        [end - start for *_, start, end in steps],
        left=[start for _, _, start, _ in steps],
        height=0.66,
        color=[SLOWER if end > start else FASTER for *_, start, end in steps],
        edgecolor=INK,
        linewidth=0.4,
    )
    for bar, (_, part, start, end) in zip(bars, steps, strict=True):
        marks.name(bar, Mark(f"{part}: {_added(end - start)} of {short(found.baseline)}'s time", found.case.arm))
        if part == _rest(found):
            bar.set(facecolor="none", hatch="////", linewidth=0.8)
    totals = [(y, part, end) for y, (part, start, end) in enumerate(rows) if start == end and low <= end <= high]
    # A hairline leads from each sum down to where the next parts start.
    axis.vlines([end for *_, end in totals], [y for y, *_ in totals], len(rows) - 0.5, color=MUTED, linewidth=0.5)
    if high < 1:
        axis.annotate(
            "from 100 %", (high, 1), (-4, 0), textcoords="offset points", ha="right", va="center", color=MAP_INK[7]
        )
    style = look(found.case)
    if found.share.ends is not None:
        axis.plot(found.share.ends, [len(rows) - 1] * 2, color=style.color, linewidth=1.4, alpha=0.7)
    colors = [style.color if part == MEASURED else MUTED for _, part, _ in totals]
    sums = axis.scatter([end for *_, end in totals], [y for y, *_ in totals], s=34, marker="D", color=colors, zorder=3)
    marks.name(sums, *(Mark(f"{part}: {_total(found, end)}", found.case.arm) for _, part, end in totals))
    axis.xaxis.set_major_formatter(ticks("%"))
    axis.locator_params(axis="x", nbins=5)
    axis.set_yticks(range(len(rows)), [part for part, *_ in rows])
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.grid(visible=False, axis="y")
    axis.tick_params(axis="y", length=0)
    right = [(_total(found, end), INK) if start == end else (_added(end - start), MUTED) for _, start, end in rows]
    for y, (text, color) in enumerate(right):
        beside(axis, y, text, color)


def _ends(found: Fall, rows: list[Step]) -> tuple[float, float]:
    """The ends of the axis: what FLOPs save may leave the frame, since it would make all other parts too small to see."""
    core = [end for *_, end in rows[2:]]
    span = max(0.03, max(core) - min(core))
    low, high = min(core) - 0.15 * span, max(core) + 0.5 * span
    if found.share.ends is not None:
        least, most = found.share.ends
        low, high = min(low, max(least, low - span / 2)), max(high, min(most, high + span / 2))
    return low, (max(high, 1 + 0.1 * span) if high > 1 - 0.3 * span else high)


def _added(share: float) -> str:
    return plain(Estimate(share, kind="change"))


def _total(found: Fall, share: float) -> str:
    share_, time = Estimate(share, kind="share"), Estimate(share * found.seconds, unit="s")
    return plain(Sentence("{share}, {time}", share=share_, time=time))


def _caption(found: Fall) -> Sentence:
    place, ends = found.case.place, found.share.ends
    noise = found.predicted and ends is not None and ends[0] <= found.attainable <= ends[1]
    return Sentence(
        "{arm} at T = {length}, B = {batch}: FLOPs promise {promised} of {base}'s time; "
        + "its operators at this machine's measured peaks come to {attainable}; " * found.predicted
        + "measured: {measured}."
        + " The interval includes what is attainable: the unexplained part may be noise." * noise,
        arm=found.case,
        length=place.seq_len,
        batch=place.batch_size,
        promised=Estimate(found.promised, kind="share"),
        base=found.baseline,
        attainable=Estimate(found.attainable, kind="share"),
        measured=found.share,
    )


READING = (
    "From the time that the saved FLOPs promise to the time that was measured, step by step: each bar is what one kind of work "
    "adds. Bars before the attainable time are predicted from the operators of a call and this machine's measured peaks; only "
    "the last, hatched one is measured and not explained. Where no peaks were measured, launches are the time in which the "
    "device waited for the host, beyond the promised share, and what was spent on the device is not told apart. A long bar says "
    "where to look first, not that the time can be saved."
)

PANEL = Panel(title="Where does the promised gain go?", order=42, span=12, render=render, draws=True, reading=READING)
