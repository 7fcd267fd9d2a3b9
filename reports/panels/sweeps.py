"""What sweeps over sizes and budgets found: loss at equal training FLOPs, what fresh seeds confirm, the trend over budgets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pandas as pd

from modbench.harness.rules.confirmation import Compared
from modbench.harness.stats.trend import Trend
from modbench.reports.figures.axes import ticks
from modbench.reports.figures.style import INK, MUTED, OTHER, Look, Mark, Marks, look, new_figure
from modbench.reports.model import Block, Estimate, Figure, Sentence
from modbench.reports.panel import Lead, Panel
from modbench.reports.questions import confirmation, isoflop, trend
from modbench.reports.questions.isoflop import Curve, curves, dense_beside, step_share
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.losses import in_flops, seeds_in_words
from modbench.reports.writers.number_format import number, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Line: TypeAlias = str | tuple[int, tuple[int, ...]]
LINES: tuple[Line, ...] = ("-", "--", "-.", (0, (6, 2, 1, 2, 1, 2)))


def equal_flops(loaded: Loaded) -> Iterator[Block]:
    """Draw a figure per budget, by the causal loss; then a table of both losses."""
    made = curves(loaded)
    if not made:
        return
    drawn = (_curves_of(loaded, budget, made) for budget in sorted({curve.budget for curve in made}))
    yield from filter(None, drawn)
    yield from isoflop.blocks(loaded)


def _curves_of(loaded: Loaded, budget: float, made: Sequence[Curve]) -> Figure | None:
    own, sweep = isoflop.shown(made, budget), loaded.suite.isoflop
    assert sweep is not None, "only a sweep has budgets"
    dense = dense_beside(loaded, own[0], made)
    if dense is None or budget in sweep.anchor_budgets:  # one curve compares nothing
        return None
    from matplotlib.ticker import LogLocator, NullLocator

    places = [_places(loaded, curve, dense) for curve in own]
    timed = sum(step is not None for _, _, steps in places for step in steps) > 1  # the best dense is one by definition
    titles = ["parameters", "forward FLOPs ÷ best dense", *["training step time ÷ best dense"] * timed]
    drawn, axes = new_figure(12.0, 3.8, len(titles), share_y=True)
    for curve, line, place in zip(own, _lines(own), places, strict=True):
        for axis, xs in zip(axes, place, strict=False):
            _draw_curve(axis, curve, xs, line)
    for i, (axis, title) in enumerate(zip(axes, titles, strict=True)):
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(ticks("M" if i == 0 else "×"))
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_xlabel(title)
    axes[0].set_title("held-out nats per token (lower is better)")
    axes[0].legend(fontsize=7.5, labelcolor=MUTED)
    caption = Sentence(
        "{budget} a run ({attention}); {seeds}; routed causally where a model can be."
        + " Step times were not measured." * (not timed),
        budget=in_flops(budget),
        attention=isoflop.attention(sweep.count),
        seeds=seeds_in_words(loaded),
    )
    of = "parameters, forward FLOPs and step time" if timed else "parameters and forward FLOPs"
    label = plain(Sentence(f"Loss over {of} at {{budget}}", budget=in_flops(budget)))
    data = pd.DataFrame([row for curve in own for row in _curve_rows(loaded, curve, dense)])
    return Figure(f"isoflop-{budget:.0f}", drawn, label, caption, data, wide=True)


def _curve_rows(loaded: Loaded, curve: Curve, dense: Curve) -> list[dict[str, object]]:
    """Return a row for each size and seed."""
    return [
        {
            "budget": curve.budget,
            "variant": curve.variant,
            "arm": point.case.arm,
            "metric": curve.metric,
            "params": params,
            "forward_share": forward,
            "step_share": step,
            "seed": seed,
            "loss_nat": loss,
        }
        for point, params, forward, step in zip(curve.points, *_places(loaded, curve, dense), strict=True)
        for seed, loss in point.losses.items()
    ]


def _places(loaded: Loaded, curve: Curve, dense: Curve) -> tuple[list[float | None], ...]:
    """Return x of every size in the three figures; None where it was not measured."""
    times = [step_share(loaded, point, dense.best) for point in curve.points]
    return (
        [point.params for point in curve.points],
        [point.forward / dense.best.forward for point in curve.points],
        [each.value if each else None for each in times],
    )


def _look_of(curve: Curve) -> Look:
    return look(curve.points[0].case)


def _lines(own: Sequence[Curve]) -> list[Line]:
    """A line style for each curve: dotted for a control, and another one for each curve of a model that looks the same."""
    seen, lines = list[Look](), list[Line]()
    for style in map(_look_of, own):
        lines.append(":" if style.series == OTHER[0] else LINES[seen.count(style) % len(LINES)])
        seen.append(style)
    return lines


def _draw_curve(axis: Axes, curve: Curve, xs: Sequence[float | None], line: Line) -> None:
    style, points = _look_of(curve), [(x, point) for x, point in zip(xs, curve.points, strict=True) if x is not None]
    if not points:
        return
    axis.plot(
        [x for x, _ in points],
        [point.mean for _, point in points],
        color=style.color,
        linestyle=line,
        marker=style.marker,
        markersize=6,
        alpha=style.opacity,
        label=f" {curve.name}",
    )
    for x, point in points:
        axis.plot(
            [x] * len(point.losses), list(point.losses.values()), ".", color=style.color, markersize=3.5, alpha=0.7
        )


ISOFLOP = Panel(
    title="What is the loss at equal training FLOPs?",
    order=5,
    span=12,
    render=equal_flops,
    draws=True,
    reading=(
        "Every curve joins models of several sizes that were trained with the same number of FLOPs: larger models "
        "see fewer tokens. Dots are seeds, lines join their means. Where a curve lies below the dense one, "
        "skipping gave a lower loss for the same training compute; further left in the other figures a model is "
        "also cheaper to run, in FLOPs and in time. Intervals cover the seeds that were trained, not other data or "
        "other budgets."
    ),
    tables={"isoflop": isoflop.table},
    lead=Lead(in_place=isoflop.in_place),
)
"""Loss at equal training FLOPs: over parameters, forward FLOPs and step time."""


def confirmed(loaded: Loaded) -> Iterator[Block]:
    """Draw the losses of the fresh seeds and the difference at each look, a figure per budget; then the numbers."""
    made = confirmation.answers(loaded)
    yield from (_fresh_losses(answer) for answer in made if any(each.looks for each in answer.confirmed.compared))
    yield from confirmation.blocks(loaded)


def _fresh_losses(answer: confirmation.Answer) -> Figure:
    compared = [each for each in answer.confirmed.compared if each.looks]
    drawn, axes = new_figure(12.0, 3.0, 1 + len(compared))
    _draw_losses(axes[0], answer)
    for axis, each in zip(axes[1:], compared, strict=True):
        _draw_looks(axis, answer, each)
    dtype = answer.dtype
    label = Sentence(
        "Losses of fresh seeds and differences at each look, at {budget}" + " in {dtype}" * bool(dtype),
        budget=in_flops(answer.budget),
        dtype=dtype,
    )
    return Figure(
        f"confirm-{answer.budget:.0f}" + f"-{dtype}" * bool(dtype),
        drawn,
        plain(label),
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
    reading=(
        "The sweep explored sizes and learning rates on few seeds. Its best was then trained again on fresh seeds, "
        "and judged on held-out text that had chosen nothing: what was chosen for being lowest is not flattered by "
        "it. When to stop was fixed beforehand: where an interval leaves 0 or lies within the margin. Intervals "
        "hold at all looks together: over them each comparison errs in 5 % of cases (simulated: in 5.2 % at most). "
        "Several are several chances to err, but `pays` needs two of them, and so errs no more often than one."
    ),
    tables={"confirm": confirmation.table},
    lead=Lead(
        answer=confirmation.in_short,
        doubts=confirmation.doubts,
        table=confirmation.short_table,
    ),
    rules=frozenset({"confirmation"}),
)
"""Confirmed: the best of a sweep against dense, routing by noise and the runner-up, look by look."""


# Points of the line's band.
POINTS = 60
# Room at both ends of the budgets, as a factor.
ROOM = 1.4


def trends(loaded: Loaded) -> Iterator[Block]:
    """Draw the differences of each arm, then show the numbers."""
    for answer in trend.answers(loaded):
        if answer.trend is not None:
            yield _over_budgets(answer, answer.trend)
    yield from trend.blocks(loaded)


def _over_budgets(answer: trend.Answer, fitted: Trend) -> Figure:
    drawn, (axis,) = new_figure(4.9, 3.0)
    marks = Marks()
    _draw_trend(axis, answer, fitted, marks)
    return Figure(
        f"trend-{answer.arm.variant}",
        drawn,
        plain(Sentence("Loss of {arm} minus that of {base} over training FLOPs", arm=answer.name, base=answer.base)),
        "Below 0 the arm has the lower loss. Dots: each arm at its own optimum, with 95 %. Line and band: the trend"
        + ("; hollow: the forecast for a budget that was not trained" if trend.forecast_of(answer) else "")
        + ".",
        pd.DataFrame([{**row} for row in trend.rows_of(answer)]),
        marks=marks,
    )


def _draw_trend(axis: Axes, answer: trend.Answer, fitted: Trend, marks: Marks) -> None:
    style, ahead = look(answer.arm), trend.forecast_of(answer)
    budgets = [each.flops for each in fitted.budgets]
    ends = budgets[0] / ROOM, max(budgets[-1], answer.plan.forecast if ahead and answer.plan.forecast else 0) * ROOM
    axis.set_xscale("log")
    axis.set_xlim(ends)
    axis.axhline(0, color=MUTED, linewidth=0.9)
    if len(budgets) > 1 and fitted.is_straight is not False:
        along = np.geomspace(*ends, POINTS)
        points = [found for flops in along if (found := fitted.at(float(flops))) is not None]
        axis.plot(along, [each.value for each in points], color=style.color, linewidth=1.2)
        if all(each.low is not None for each in points):
            lows, highs = [each.low or 0.0 for each in points], [each.high or 0.0 for each in points]
            axis.fill_between(along, lows, highs, color=style.color, alpha=0.12, linewidth=0)
    for flops, found in zip(budgets, fitted.differences, strict=True):
        if found.low is not None and found.high is not None:
            axis.plot([flops, flops], [found.low, found.high], color=style.color, linewidth=1.6)
        (dot,) = axis.plot([flops], [found.value], style.marker, markersize=7, color=style.color)
        dot.set(markeredgecolor=INK, markeredgewidth=0.6)
        words = "{arm} at {budget}: {said} nats"
        said = Sentence(words, arm=answer.name, budget=in_flops(flops), said=trend.nats(found))
        marks.name(dot, Mark(plain(said), answer.arm.arm))
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


TREND = Panel(
    title="From which training budget on does skipping pay?",
    order=3,
    span=12,
    render=trends,
    draws=True,
    reading=(
        "Each dot compares two models that were trained with the same number of FLOPs, each at the size that is "
        "best for it. Budgets grow to the right: where the line falls, skipping tokens gains with compute; where "
        "it rises, it loses. Where it crosses 0, both have one loss. Intervals hold the spread over seeds, the "
        "error of the best size and the choice of the held-out text. They say nothing about budgets beyond the "
        "dots, other depths, other lengths or other text."
    ),
    tables={"trend": trend.table},
    lead=Lead(answer=trend.in_short, doubts=trend.doubts, in_place=trend.in_place),
    rules=frozenset({"trend"}),
)
"""The trend: the difference of an arm and the anchor over training budgets, its line, and the forecast."""
