"""Where the promised gain goes: from the time that FLOPs promise, part by part, to the time that was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

import pandas as pd

from modbench.harness.core.units import human
from modbench.reports.figures.marks import Mark, Marks
from modbench.reports.figures.style import INK, MAP, MAP_INK, MUTED, beside, look, new_figure
from modbench.reports.model import Block, Estimate, Figure, Note, Table, Value
from modbench.reports.panel import Panel
from modbench.reports.questions.waterfall import ORDER, Fall, falls
from modbench.reports.tables.contenders import default_arm
from modbench.reports.tables.load import Loaded
from modbench.reports.wording.arm_names import in_title, name, short
from modbench.reports.wording.words import TIMED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# More time, and less.
SLOWER, FASTER = MAP[1], MAP[7]
# Parts below this share of the baseline's time are named in no sentence.
WORTH_SAYING = 0.002
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
    parts = [part for part in ORDER if any(part in found.parts for _, found in every)]
    head = ("arm", "workload", "promised", *parts, "attainable", "unexplained", "measured")
    rows = [_row(_TITLES[metric], found, parts) for metric, found in every]
    yield Table(f"All arms at T = {length:,}, in % of the baseline's time", head, rows, folded=True)
    if every[0][1].predicted:
        yield Note(
            "Each part is what its operators take beyond the share that FLOPs promise of them. Router: products narrower than "
            "any of the baseline's. Small products: equal FLOPs at fewer rows are slower. Attention, mix of FLOPs: its FLOPs "
            "take other times than those of products. Launches: starting an operator, the model's Python code included. "
            "Unexplained: caches, memory, noise, and whatever operators and peaks do not show."
        )


def _row(workload: str, found: Fall, parts: list[str]) -> Sequence[Value]:
    added = (Estimate(found.parts[part], kind="change") if part in found.parts else "" for part in parts)
    attainable = Estimate(found.attainable, kind="share") if found.predicted else ""
    ends = (attainable, Estimate(found.unexplained, kind="change"), Estimate(found.measured, kind="share"))
    return (found.case, workload, Estimate(found.promised, kind="share"), *added, *ends)


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
    if found.low is not None and found.high is not None:
        axis.plot([found.low, found.high], [len(rows) - 1] * 2, color=style.color, linewidth=1.4, alpha=0.7)
    colors = [style.color if part == MEASURED else MUTED for _, part, _ in totals]
    sums = axis.scatter([end for *_, end in totals], [y for y, *_ in totals], s=34, marker="D", color=colors, zorder=3)
    marks.name(sums, *(Mark(f"{part}: {_total(found, end)}", found.case.arm) for _, part, end in totals))
    axis.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
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
    if found.low is not None and found.high is not None:
        low, high = min(low, max(found.low, low - span / 2)), max(high, min(found.high, high + span / 2))
    return low, (max(high, 1 + 0.1 * span) if high > 1 - 0.3 * span else high)


def _added(share: float) -> str:
    return f"{100 * share:+.1f} %".replace("-", "\N{MINUS SIGN}")


def _total(found: Fall, share: float) -> str:
    return f"{100 * share:.1f} %, {human(share * found.seconds, 's')}"


def _caption(found: Fall) -> str:
    largest = sorted(found.parts.items(), key=lambda item: -abs(item[1]))[:2]
    parts = " and ".join(f"{part} ({_added(share)})" for part, share in largest if abs(share) >= WORTH_SAYING)
    place, measured, noise = found.case.place, f"{100 * found.measured:.1f} %", ""
    if found.low is not None and found.high is not None:
        measured += f" [{100 * found.low:.1f}–{100 * found.high:.1f}]"
        if found.low <= found.attainable <= found.high:
            noise = " The interval includes what is attainable: the unexplained part may be noise."
    promised = (
        f"{name(found.case)} at T = {place.seq_len:,}, B = {place.batch_size:,}: FLOPs promise {100 * found.promised:.1f} % of "
        f"{name(found.baseline)}'s time"
    )
    if not found.predicted:
        return (
            f"{promised}; measured: {measured}. Launches: the device waits for the host, measured, beyond the promised share. "
            "Hatched: spent on the device, not told apart."
        )
    return (
        f"{promised}; its operators at this machine's measured peaks come to {100 * found.attainable:.1f} %"
        + (f", with {parts} as the largest parts" if parts else "")
        + f"; measured: {measured}.{noise} Filled parts are predicted from operators; the hatched one is the measured rest."
    )


READING = (
    "From the time that the saved FLOPs promise to the time that was measured, step by step: each bar is what one "
    "kind of work adds. Bars before the attainable time are predicted from the operators of a call and this machine's"
    " measured peaks; only the last, hatched one is measured and not explained. A long bar says where to look first, "
    "not that the time can be saved."
)

PANEL = Panel(title="Where does the promised gain go?", order=42, span=12, render=render, draws=True, reading=READING)
