"""The trend: the difference of an arm and the anchor over training budgets, its line, and the forecast."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from modbench.harness.stats.trend import Trend
from modbench.reports.figures.style import INK, MUTED, Mark, Marks, look, new_figure
from modbench.reports.model import Block, Estimate, Figure, Sentence
from modbench.reports.panel import Lead, Panel
from modbench.reports.questions import trend as question
from modbench.reports.questions.trend import Answer
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.losses import in_flops
from modbench.reports.writers.number_format import number, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Points of the line's band.
_POINTS = 60
# Room at both ends of the budgets, as a factor.
_ROOM = 1.4


def render(loaded: Loaded) -> Iterator[Block]:
    """Draw the differences of each arm, then show the numbers."""
    for answer in question.answers(loaded):
        if answer.trend is not None:
            yield _figure(answer, answer.trend)
    yield from question.blocks(loaded)


def _figure(answer: Answer, trend: Trend) -> Figure:
    drawn, (axis,) = new_figure(4.9, 3.0)
    marks = Marks()
    _draw(axis, answer, trend, marks)
    return Figure(
        f"trend-{answer.arm.variant}",
        drawn,
        plain(Sentence("Loss of {arm} minus that of {base} over training FLOPs", arm=answer.name, base=answer.base)),
        "Below 0 the arm has the lower loss. Dots: each arm at its own optimum, with 95 %. Line and band: the trend"
        + ("; hollow: the forecast for a budget that was not trained" if question.forecast_of(answer) else "")
        + ".",
        pd.DataFrame([{**row} for row in question.rows_of(answer)]),
        marks=marks,
    )


def _draw(axis: Axes, answer: Answer, trend: Trend, marks: Marks) -> None:
    style, ahead = look(answer.arm), question.forecast_of(answer)
    budgets = [each.flops for each in trend.budgets]
    ends = budgets[0] / _ROOM, max(budgets[-1], answer.plan.forecast if ahead and answer.plan.forecast else 0) * _ROOM
    axis.set_xscale("log")
    axis.set_xlim(ends)
    axis.axhline(0, color=MUTED, linewidth=0.9)
    if len(budgets) > 1 and trend.is_straight is not False:
        along = np.geomspace(*ends, _POINTS)
        line = [found for flops in along if (found := trend.at(float(flops))) is not None]
        axis.plot(along, [each.value for each in line], color=style.color, linewidth=1.2)
        if all(each.low is not None for each in line):
            lows, highs = [each.low or 0.0 for each in line], [each.high or 0.0 for each in line]
            axis.fill_between(along, lows, highs, color=style.color, alpha=0.12, linewidth=0)
    for flops, found in zip(budgets, trend.differences, strict=True):
        if found.low is not None and found.high is not None:
            axis.plot([flops, flops], [found.low, found.high], color=style.color, linewidth=1.6)
        (dot,) = axis.plot([flops], [found.value], style.marker, markersize=7, color=style.color)
        dot.set(markeredgecolor=INK, markeredgewidth=0.6)
        said = Estimate(found.value, found.low, found.high, "difference", "nat")
        words = Sentence("{arm} at {budget}: {said} nats", arm=answer.name, budget=in_flops(flops), said=said)
        marks.name(dot, Mark(plain(words), answer.arm.arm))
    if ahead is not None and ahead.low is not None and ahead.high is not None and answer.plan.forecast is not None:
        axis.plot([answer.plan.forecast] * 2, [ahead.low, ahead.high], color=style.color, linewidth=1.0, linestyle=":")
        axis.plot(
            [answer.plan.forecast], [ahead.value], style.marker, markersize=7, markerfacecolor="none", color=style.color
        )
    shown = [*budgets, *([answer.plan.forecast] if ahead and answer.plan.forecast else [])]
    axis.minorticks_off()
    axis.set_xticks(shown, [number(Estimate(flops, kind="budget")) for flops in shown])
    axis.set_xlabel("training FLOPs")
    axis.set_title(f"nats per token: {answer.name} minus {answer.base}")


READING = (
    "Each dot compares two models that were trained with the same number of FLOPs, each at the size that is best for it. Budgets "
    "grow to the right: where the line falls, skipping tokens gains with compute; where it rises, it loses. Where it crosses 0, "
    "both have one loss. Intervals hold the spread over seeds, the error of the best size and the choice of the held-out text. "
    "They say nothing about budgets beyond the dots, other depths, other lengths or other text."
)

PANEL = Panel(
    title="From which training budget on does skipping pay?",
    order=3,
    span=12,
    render=render,
    draws=True,
    reading=READING,
    tables={"trend": question.table},
    lead=Lead(answer=question.in_short, doubts=question.doubts, in_place=question.in_place, above=True),
    rules=frozenset({"trend"}),
)
