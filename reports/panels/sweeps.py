"""What sweeps over sizes and budgets found: loss at equal training FLOPs, what fresh seeds confirm, the trend over budgets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pandas as pd

from modbench.harness.core.grouped import grouped
from modbench.harness.rules.confirmation import Compared
from modbench.harness.stats.trend import Trend
from modbench.reports.figures.axes import ticks
from modbench.reports.figures.style import INK, MUTED, OTHER, Look, Mark, Marks, look, new_figure
from modbench.reports.model import Block, Estimate, Figure, Sentence
from modbench.reports.panel import Lead, Panel
from modbench.reports.questions import confirmation, isoflop, trend
from modbench.reports.questions.isoflop import Swept, step_share
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.losses import in_flops, seeds_in_words
from modbench.reports.writers.number_format import number, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Line: TypeAlias = str | tuple[int, tuple[int, ...]]
LINES: tuple[Line, ...] = ("-", "--", "-.", (0, (6, 2, 1, 2, 1, 2)))
# Of the figures of a sweep: a column of their data, the title of the axis, and how values along it are written.
SWEPT = {
    "params": ("parameters", "M"),
    "forward_share": ("forward FLOPs ÷ best dense", "×"),
    "step_share": ("training step time ÷ best dense", "×"),
}


def equal_flops(loaded: Loaded) -> Iterator[Block]:
    """Draw a figure per budget, by the causal loss; then the tables."""
    budgets = grouped((each.curve.budget, each) for each in isoflop.by_budget(loaded))
    yield from (_curves_of(loaded, rows) for rows in budgets.values())
    yield from filter(None, (isoflop.table(loaded), isoflop.rates(loaded)))


def _curves_of(loaded: Loaded, own: Sequence[Swept]) -> Figure:
    from matplotlib.ticker import LogLocator, NullLocator

    sweep, budget = loaded.suite.isoflop, own[0].curve.budget
    assert sweep is not None, "only a sweep has budgets"
    data = pd.DataFrame([row for each in own for row in _points(loaded, each)])
    # The best dense size is 1 by definition.
    shown = [along for along in SWEPT if len(set(data.arm[data[along].notna()])) > 1]
    drawn, axes = new_figure(12.0, 3.8, len(shown), share_y=True)
    for axis, along in zip(axes, shown, strict=True):
        for each, line in zip(own, _lines(own), strict=True):
            points = data[(data.variant == each.curve.variant) & data[along].notna()]
            _draw_curve(axis, each, points.rename(columns={along: "x"}), line)
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(ticks(SWEPT[along][1]))
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_xlabel(SWEPT[along][0])
    axes[0].set_title("held-out nats per token (lower is better)")
    axes[0].legend(fontsize=7.5, labelcolor=MUTED)
    caption = Sentence(
        "{budget} a run ({attention}); {seeds}; routed causally where a model can be.",
        budget=in_flops(budget),
        attention=isoflop.attention(sweep.count),
        seeds=seeds_in_words(loaded),
    )
    label = plain(Sentence("Loss over size and cost at {budget}", budget=in_flops(budget)))
    return Figure(f"isoflop-{budget:.0f}", drawn, label, caption, data, wide=True)


def _points(loaded: Loaded, each: Swept) -> Iterator[dict[str, object]]:
    """Yield a row for each size and seed."""
    assert each.dense is not None, "variants of a budget stand beside the anchor"
    for point in each.curve.points:
        step = step_share(loaded, point, each.dense.best)
        for seed, loss in point.losses.items():
            yield {
                "budget": each.curve.budget,
                "variant": each.curve.variant,
                "arm": point.case.arm,
                "metric": each.curve.metric,
                "params": point.params,
                "forward_share": point.forward / each.dense.best.forward,
                "step_share": step and step.value,
                "seed": seed,
                "loss_nat": loss,
            }


def _lines(own: Sequence[Swept]) -> list[Line]:
    """A line style for each curve: dotted for a control, and another one for each curve of a model that looks the same."""
    seen, lines = list[Look](), list[Line]()
    for style in (look(each.best.case) for each in own):
        lines.append(":" if style.series == OTHER[0] else LINES[seen.count(style) % len(LINES)])
        seen.append(style)
    return lines


def _draw_curve(axis: Axes, each: Swept, points: pd.DataFrame, line: Line) -> None:
    """Draw the runs, and a line through their means; points have columns `arm`, `x` and `loss_nat`."""
    style, means = look(each.best.case), points.groupby("arm", sort=False)[["x", "loss_nat"]].mean()
    if points.empty:
        return
    axis.plot(
        means.x,
        means.loss_nat,
        color=style.color,
        linestyle=line,
        marker=style.marker,
        markersize=6,
        alpha=style.opacity,
        label=f" {each.curve.name}",
    )
    axis.plot(points.x, points.loss_nat, ".", color=style.color, markersize=3.5, alpha=0.7)


ISOFLOP = Panel(
    title="What is the loss at equal training FLOPs?",
    order=5,
    span=12,
    render=equal_flops,
    draws=True,
    told=True,
    reading=(
        "Every curve joins models of several sizes that were trained with the same number of FLOPs: larger models "
        "see fewer tokens. Dots are seeds, lines join their means. Where a curve lies below the dense one, "
        "skipping gave a lower loss for the same training compute; further left in the other figures a model is "
        "also cheaper to run, in FLOPs and in time. The optimum is that of one fit over all runs of the budget, a parabola "
        "over the logarithm of the parameters for each variant. Intervals cover the seeds that were trained, not other data or "
        "other budgets."
    ),
    tables=[isoflop.TABLE],
    lead=Lead(in_place=isoflop.in_place),
)
"""Loss at equal training FLOPs: over parameters, forward FLOPs and step time."""


def confirmed(loaded: Loaded) -> Iterator[Block]:
    """Draw the losses of the fresh seeds and the difference at each look, a figure per budget; then the numbers."""
    made = confirmation.answers(loaded)
    yield from (_fresh_losses(answer) for answer in made if any(each.looks for each in answer.confirmed.compared))
    yield from filter(None, [confirmation.table(loaded)])


def _fresh_losses(answer: confirmation.Answer) -> Figure:
    compared = [each for each in answer.confirmed.compared if each.looks]
    drawn, axes = new_figure(12.0, 3.0, 1 + len(compared))
    _draw_losses(axes[0], answer)
    for axis, each in zip(axes[1:], compared, strict=True):
        _draw_looks(axis, answer, each)
    dtype = answer.dtype
    words = "Losses of fresh seeds and differences at each look, at {budget}" + " in {dtype}" * bool(dtype)
    return Figure(
        f"confirm-{answer.budget:.0f}" + f"-{dtype}" * bool(dtype),
        drawn,
        plain(Sentence(words, budget=in_flops(answer.budget), dtype=dtype)),
        "Left, every dot is a fresh seed and a bar their mean. The others: the difference at each look, with its interval; the "
        "band is the margin.",
        _confirmed_rows(answer),
        wide=True,
    )


def _draw_losses(axis: Axes, answer: confirmation.Answer) -> None:
    """Draw a row for each arm, the best on top."""
    rows = sorted(answer.sides, key=lambda role: role == "best")
    for at, role in enumerate(rows):
        side, style = answer.sides[role], look(answer.sides[role].case)
        axis.plot(side.losses, [at] * len(side.losses), ".", color=style.color, markersize=5, alpha=0.7)
        if side.mean is not None:
            axis.plot([side.mean] * 2, [at - 0.25, at + 0.25], color=style.color, linewidth=2)
    axis.set_ylim(-0.6, len(rows) - 0.4)
    axis.set_yticks(range(len(rows)), [answer.name(role) for role in rows])
    axis.set_title("held-out nats per token")


def _draw_looks(axis: Axes, answer: confirmation.Answer, compared: Compared) -> None:
    from matplotlib.ticker import MaxNLocator

    style, margin = look(answer.sides["best"].case), answer.confirmed.margin or 0.0
    axis.axhspan(-margin, margin, color=MUTED, alpha=0.12, linewidth=0)
    axis.axhline(0, color=MUTED, linewidth=0.8)
    for each in compared.looks:
        at = min(each.seeds)
        if each.low is not None and each.high is not None:
            axis.plot([at, at], [each.low, each.high], color=style.color, linewidth=1.5)
        axis.plot([at], [each.value], "o", color=style.color, markersize=5)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axis.set_xlim(0, answer.confirmed.planned + 1)
    axis.set_xlabel("seeds of each")
    axis.set_title(f"nats against {answer.name(compared.role)}")


def _confirmed_rows(answer: confirmation.Answer) -> pd.DataFrame:
    """Return a row for each fresh loss, and for each look at a difference."""
    rows: list[tuple[object, ...]] = [
        (role, side.case.id, "loss", 1, loss, None, None) for role, side in answer.sides.items() for loss in side.losses
    ]
    rows += [
        (each.role, answer.sides[each.role].case.id, "difference", min(one.seeds), one.value, one.low, one.high)
        for each in answer.confirmed.compared
        for one in each.looks
    ]
    frame = pd.DataFrame(rows, columns=["role", "case", "what", "seeds", "value_nat", "low_nat", "high_nat"])
    frame.insert(0, "budget", answer.budget)
    return frame


CONFIRM = Panel(
    title="What was confirmed?",
    order=4,
    span=12,
    render=confirmed,
    draws=True,
    told=True,
    reading=(
        "The sweep explored sizes and learning rates on few seeds. Its best was then trained again on fresh seeds, "
        "and judged on held-out text that had chosen nothing: what was chosen for being lowest is not flattered by "
        "it. When to stop was fixed beforehand: where an interval leaves 0 or lies within the margin. Intervals "
        "hold at all looks together: over them each comparison errs in 5 % of cases (simulated: in 5.2 % at most). "
        "Several are several chances to err, but `pays` needs two of them, and so errs no more often than one."
    ),
    tables=[confirmation.TABLE],
    lead=Lead(answer=confirmation.answer, doubts=confirmation.doubts, table=confirmation.table),
    rules=frozenset({"confirmation"}),
)
"""Confirmed: the best of a sweep against dense, routing by noise and the runner-up, look by look."""


# Points of the line's band.
POINTS = 60
# Room at both ends of the budgets, as a factor.
ROOM = 1.4


def trends(loaded: Loaded) -> Iterator[Block]:
    """Draw the differences of each arm, then show the numbers."""
    made = trend.answers(loaded)
    yield from (_over_budgets(answer, answer.trend) for answer in made if answer.trend is not None)
    yield from (trend.table(answer) for answer in made if answer.rows)


def _over_budgets(answer: trend.Answer, fitted: Trend) -> Figure:
    drawn, (axis,) = new_figure(4.9, 3.0)
    marks = Marks()
    _draw_trend(axis, answer, fitted, marks)
    return Figure(
        f"trend-{answer.arm.variant}",
        drawn,
        plain(Sentence("Loss of {arm} minus that of {base} over training FLOPs", arm=answer.name, base=answer.base)),
        "Below 0 the arm has the lower loss. Dots: each arm at its own optimum, with 95 %; hollow: a forecast. Line and band: "
        "the trend.",
        trend.TABLE.of(trend.rows(answer)),
        marks=marks,
    )


def _draw_trend(axis: Axes, answer: trend.Answer, fitted: Trend, marks: Marks) -> None:
    style, ahead = look(answer.arm), answer.forecast
    found = [(each.flops, each.difference) for each in answer.rows if each.difference is not None]
    if ahead is not None and answer.plan.forecast is not None:
        found.append((answer.plan.forecast, ahead))
    ends = found[0][0] / ROOM, found[-1][0] * ROOM
    axis.set_xscale("log")
    axis.set_xlim(ends)
    axis.axhline(0, color=MUTED, linewidth=0.9)
    if fitted.slope is not None and fitted.is_straight is not False:
        along = np.geomspace(*ends, POINTS)
        line = pd.DataFrame([(at.value, at.low, at.high) for flops in along if (at := fitted.at(float(flops)))])
        axis.plot(along, line[0], color=style.color, linewidth=1.2)
        if line[1].notna().all():
            axis.fill_between(along, line[1], line[2], color=style.color, alpha=0.12, linewidth=0)
    for flops, each in found:
        face = "none" if each is ahead else style.color
        if each.ends is not None:
            axis.plot([flops, flops], each.ends, color=style.color, linewidth=1.6)
        (dot,) = axis.plot([flops], [each.value or 0.0], style.marker, markersize=7, markerfacecolor=face)
        dot.set(markeredgecolor=style.color if each is ahead else INK, markeredgewidth=0.6)
        said = Sentence("{arm} at {flops}: {found}", arm=answer.name, flops=in_flops(flops), found=each)
        marks.name(dot, Mark(plain(said), answer.arm.arm))
    axis.minorticks_off()
    axis.set_xticks([flops for flops, _ in found], [number(Estimate(flops, unit="FLOP")) for flops, _ in found])
    axis.set_xlabel("training FLOPs")
    axis.set_title(f"nats per token: {answer.name} minus {answer.base}")


TREND = Panel(
    title="From which training budget on does skipping pay?",
    order=3,
    span=12,
    render=trends,
    draws=True,
    told=True,
    reading=(
        "Each dot compares two models that were trained with the same number of FLOPs, each at the size that is "
        "best for it. Budgets grow to the right: where the line falls, skipping tokens gains with compute; where "
        "it rises, it loses. Where it crosses 0, both have one loss. Intervals hold the spread over seeds, the "
        "error of the best size and the choice of the held-out text. They say nothing about budgets beyond the "
        "dots, other depths, other lengths or other text."
    ),
    tables=[trend.TABLE],
    lead=Lead(answer=trend.answer, doubts=trend.doubts, in_place=trend.in_place),
    rules=frozenset({"trend"}),
)
"""The trend: the difference of an arm and the anchor over training budgets, its line, and the forecast."""
