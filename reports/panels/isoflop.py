"""Loss at equal training FLOPs: over parameters, forward FLOPs and step time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

import pandas as pd

from modbench.reports.figures.axes import ticks
from modbench.reports.figures.style import MUTED, OTHER, Look, look, new_figure
from modbench.reports.model import Block, Figure, Sentence
from modbench.reports.panel import Lead, Panel
from modbench.reports.questions import isoflop
from modbench.reports.questions.isoflop import Curve, curves, dense_beside, step_share
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.losses import in_flops, seeds_in_words
from modbench.reports.writers.number_format import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Line: TypeAlias = str | tuple[int, tuple[int, ...]]
LINES: tuple[Line, ...] = ("-", "--", "-.", (0, (6, 2, 1, 2, 1, 2)))


def render(loaded: Loaded) -> Iterator[Block]:
    """Draw a figure per budget, by the causal loss; then a table of both losses."""
    made = curves(loaded)
    if not made:
        return
    drawn = (_figure(loaded, budget, made) for budget in sorted({curve.budget for curve in made}))
    yield from filter(None, drawn)
    yield from isoflop.blocks(loaded)


def _figure(loaded: Loaded, budget: float, made: Sequence[Curve]) -> Figure | None:
    own, sweep = isoflop.shown(made, budget), loaded.run.plan.suite.isoflop
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
            _draw(axis, curve, xs, line)
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
    data = pd.DataFrame([row for curve in own for row in _data(loaded, curve, dense)])
    return Figure(f"isoflop-{budget:.0f}", drawn, label, caption, data, wide=True)


def _data(loaded: Loaded, curve: Curve, dense: Curve) -> list[dict[str, object]]:
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


def _look(curve: Curve) -> Look:
    return look(curve.points[0].case)


def _lines(own: Sequence[Curve]) -> list[Line]:
    """A line style for each curve: dotted for a control, and another one for each curve of a model that looks the same."""
    seen, lines = list[Look](), list[Line]()
    for style in map(_look, own):
        lines.append(":" if style.series == OTHER[0] else LINES[seen.count(style) % len(LINES)])
        seen.append(style)
    return lines


def _draw(axis: Axes, curve: Curve, xs: Sequence[float | None], line: Line) -> None:
    style, points = _look(curve), [(x, point) for x, point in zip(xs, curve.points, strict=True) if x is not None]
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


READING = (
    "Every curve joins models of several sizes that were trained with the same number of FLOPs: larger models see fewer "
    "tokens. Dots are seeds, lines join their means. Where a curve lies below the dense one, skipping gave a lower loss for "
    "the same training compute; further left in the other figures a model is also cheaper to run, in FLOPs and in time. "
    "Intervals cover the seeds that were trained, not other data or other budgets."
)

PANEL = Panel(
    title="What is the loss at equal training FLOPs?",
    order=5,
    span=12,
    render=render,
    draws=True,
    reading=READING,
    tables={"isoflop": isoflop.table},
    lead=Lead(details=isoflop.sentences, in_place=isoflop.in_place),
)
