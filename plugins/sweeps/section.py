"""What sweeps over sizes and budgets found: loss at equal training FLOPs, what new seeds confirm, the trend over budgets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pandas as pd

from modbench.extend import (
    INK,
    MUTED,
    OTHER,
    Block,
    Estimate,
    Figure,
    Lead,
    Loaded,
    Look,
    Mark,
    Marks,
    Section,
    Sentence,
    grouped,
    look,
    new_figure,
    plain,
    ticks,
    unit_of,
)
from modbench.extend import written_number as number
from modbench.plugins.sweeps.confirmation import question as confirmation
from modbench.plugins.sweeps.isoflop import question as isoflop
from modbench.plugins.sweeps.isoflop.plan import IsoflopPlan
from modbench.plugins.sweeps.isoflop.question import Swept
from modbench.plugins.sweeps.trend import question as trend
from modbench.plugins.sweeps.trend.statistics import Trend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Line: TypeAlias = str | tuple[int, tuple[int, ...]]
LINES: tuple[Line, ...] = ("-", "--", "-.", (0, (6, 2, 1, 2, 1, 2)))


def _in_flops(budget: float) -> Sentence:
    """Return a budget: `4.00 TFLOP of training`."""
    return Sentence("{budget} of training", budget=Estimate(budget, unit="FLOP"))


def equal_flops(loaded: Loaded) -> Iterator[Block]:
    """Draw a figure per budget, by the causal loss; then the table."""
    budgets = grouped((each.curve.train_flops, each) for each in isoflop.by_budget(loaded))
    yield from (_curves_of(loaded, rows) for rows in budgets.values())
    yield from filter(None, [isoflop.table(loaded)])


def _curves_of(loaded: Loaded, own: Sequence[Swept]) -> Figure:
    from matplotlib.ticker import LogLocator, NullLocator

    sweep, budget, (unit, factor) = IsoflopPlan.of(loaded.suite), _in_flops(own[0].curve.train_flops), unit_of(loaded)
    assert sweep is not None, "only a sweep has budgets"
    data = pd.DataFrame(
        [
            (curve.train_flops, curve.variant, point.case.variant, curve.metric, point.params, seed, loss)
            for curve in (each.curve for each in own)
            for point in curve.points
            for seed, loss in point.losses.items()
        ],
        columns=["train_flops", "family", "variant", "metric", "params", "seed", "loss_nat"],
    )
    drawn, (axis,) = new_figure(6.2, 4.2)
    for each, line in zip(own, _lines(own), strict=True):
        _draw_curve(axis, each, data[data.family == each.curve.variant], factor, line)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(ticks("M"))
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel("parameters")
    axis.set_title(f"held-out loss, {unit} (lower is better)")
    drawn.legend(loc="outside lower center", ncols=3, fontsize=7.5, labelcolor=MUTED)
    words = "{budget} a run ({count} attention). Dots are seeds, lines join their means."
    label = plain(Sentence("Held-out loss over parameters at {budget}, a line for each variant", budget=budget))
    caption = Sentence(words, budget=budget, count=sweep.count)
    return Figure(f"isoflop-{own[0].curve.train_flops:.0f}", drawn, label, caption, data)


def _lines(own: Sequence[Swept]) -> list[Line]:
    """A line style for each curve: dotted for a control, and another one for each curve of a model that looks the same."""
    seen, lines = list[Look](), list[Line]()
    for style in (look(each.best.case) for each in own):
        lines.append(":" if style.series == OTHER[0] else LINES[seen.count(style) % len(LINES)])
        seen.append(style)
    return lines


def _draw_curve(axis: Axes, each: Swept, points: pd.DataFrame, factor: float, line: Line) -> None:
    """Draw the runs, and a line through their means."""
    style, means = look(each.best.case), points.groupby("variant", sort=False)[["params", "loss_nat"]].mean()
    (joined,) = axis.plot(means.params, factor * means.loss_nat, color=style.color, marker=style.marker, markersize=6)
    joined.set(linestyle=line, alpha=style.opacity, label=f" {each.curve.name}")
    axis.plot(points.params, factor * points.loss_nat, ".", color=style.color, markersize=3.5, alpha=0.7)


ISOFLOP = Section(
    title="What is the loss at equal training FLOPs?",
    order=5,
    span=12,
    render=equal_flops,
    draws=True,
    told=True,
    reading=(
        "A curve joins sizes of a family that were trained with the same FLOPs: larger models see fewer tokens. Where it lies "
        "below the dense one, skipping gave a lower loss for the same training compute."
    ),
    tables=[isoflop.TABLE],
    lead=Lead(warnings=isoflop.doubts, in_place=isoflop.in_place),
)
"""Loss at equal training FLOPs, over parameters."""


CONFIRM = Section(
    title="What was confirmed?",
    order=4,
    span=12,
    render=lambda loaded: filter(None, [confirmation.table(loaded)]),
    told=True,
    reading=(
        "The best of the sweep was trained again on new seeds and judged on text that had chosen nothing. When to stop was fixed "
        "beforehand, and CIs hold at all interim analyses together."
    ),
    tables=[confirmation.TABLE],
    lead=Lead(answer=confirmation.answer, warnings=confirmation.doubts, table=confirmation.table),
    rules=frozenset({"confirmation"}),
)
"""Confirmed: the best of a sweep against dense, random routing and the runner-up."""


# Points of the line's band.
POINTS = 60
# Room at both ends of the budgets, as a factor.
ROOM = 1.4


def trends(loaded: Loaded) -> Iterator[Block]:
    """Draw the differences of each variant, then show the numbers."""
    made = trend.answers(loaded)
    yield from (_over_budgets(loaded, answer, answer.trend) for answer in made if answer.trend is not None)
    yield from (trend.table(loaded, answer) for answer in made if answer.rows)


def _over_budgets(loaded: Loaded, answer: trend.Answer, fitted: Trend) -> Figure:
    drawn, (axis,) = new_figure(4.9, 3.0)
    marks, style, ahead, (unit, factor) = Marks(), look(answer.variant), answer.forecast, unit_of(loaded)
    found = [(each.flops, each.difference) for each in answer.rows if each.difference is not None]
    if ahead is not None and answer.plan.forecast is not None:
        found.append((answer.plan.forecast, ahead))
    ends = found[0][0] / ROOM, found[-1][0] * ROOM
    axis.set_xscale("log")
    axis.set_xlim(ends)
    axis.axhline(0, color=MUTED, linewidth=0.9)
    if fitted.slope is not None and fitted.is_straight is not False:
        along = np.geomspace(*ends, POINTS)
        told = (fitted.at(flops) for flops in along.tolist())
        line = factor * pd.DataFrame([(at.value, at.low, at.high) for at in told if at])
        axis.plot(along, line[0], color=style.color, linewidth=1.2)
        if line[1].notna().all():
            axis.fill_between(along, line[1], line[2], color=style.color, alpha=0.12, linewidth=0)
    for flops, nats in found:
        each, face = nats.scaled(factor), "none" if nats is ahead else style.color
        if each.ends is not None:
            axis.plot([flops, flops], each.ends, color=style.color, linewidth=1.6)
        (dot,) = axis.plot([flops], [each.value or 0.0], style.marker, markersize=7, markerfacecolor=face)
        dot.set(markeredgecolor=style.color if nats is ahead else INK, markeredgewidth=0.6)
        said = Sentence("{variant} at {flops}: {found}", variant=answer.name, flops=_in_flops(flops), found=each)
        marks.name(dot, Mark(plain(said), answer.variant.variant))
    axis.minorticks_off()
    axis.set_xticks([flops for flops, _ in found], [number(Estimate(flops, unit="FLOP")) for flops, _ in found])
    axis.set_xlabel("training FLOPs")
    axis.set_title(f"{unit}: {answer.name} minus {answer.base}")
    label = f"Loss of {answer.name} minus that of {answer.base} over training FLOPs"
    caption = (
        "Below 0 skipping is better. Dots: each family at its best width; hollow: a forecast; line and band: the trend."
    )
    data = trend.TABLE.of(trend.rows(answer))
    return Figure(f"trend-{answer.variant.family}", drawn, label, caption, data, marks=marks)


TREND = Section(
    title="From which training budget on is skipping better?",
    order=3,
    span=12,
    render=trends,
    draws=True,
    told=True,
    reading=(
        "Each dot compares two variants that were trained with the same FLOPs, each at its best size: where the line falls, "
        "skipping tokens gains with compute. Nothing is known of budgets beyond the dots."
    ),
    tables=[trend.TABLE],
    lead=Lead(answer=trend.answer, warnings=trend.doubts, in_place=trend.in_place),
    rules=frozenset({"trend"}),
)
"""The trend: the difference of a variant and the baseline over training budgets, its line, and the forecast."""
