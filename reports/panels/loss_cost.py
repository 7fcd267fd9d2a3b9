"""Loss against cost, with the ladder of smaller dense models as the curve to beat."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from modbench.harness.domain.case import Case
from modbench.reports.figures.axes import draw_lines
from modbench.reports.figures.point_labels import label
from modbench.reports.figures.style import HAIR, PAPER, Mark, Marks, in_lines, look, new_figure
from modbench.reports.model import Estimate, Figure, Sentence
from modbench.reports.panel import Panel
from modbench.reports.tables.cases import looked_ahead
from modbench.reports.tables.findings import of_row
from modbench.reports.tables.load import Loaded, Row
from modbench.reports.tables.losses import beside, seeds_in_words
from modbench.reports.wording import in_title, short
from modbench.reports.writers.number_format import grid_point, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes


COSTS = {"latency/train_step": "train-step time", "latency/forward": "forward time", "flops/forward": "forward FLOPs"}
LOSS = "bpb/val"


def render(loaded: Loaded) -> Iterator[Figure]:
    """Plot bits per byte after the same tokens over relative time of a train step (else forward time, else FLOPs)."""
    suite = loaded.suite
    metric = next((metric for metric in COSTS if metric in suite.metrics), None)
    compared = len(loaded.arms) > 1 and not loaded.sizes_differ and LOSS in suite.metrics and loaded.lengths
    if not compared or suite.train is None or metric is None:
        return
    trained = max(suite.train.lengths)
    length = trained if trained in loaded.lengths else loaded.lengths[-1]
    cases = {case.arm: case for case in loaded.shown}
    data = pd.DataFrame([row for case in cases.values() if (row := _row(loaded, case, metric, length))])
    if data.empty:
        return
    made, (axis,) = new_figure(4.6, 4.1)
    marks = Marks()
    points: list[Row] = list(data.itertuples(index=False))
    _draw(axis, cases, points, marks)
    base = in_title(loaded.baseline)
    axis.set_xlabel(f"{COSTS[metric]} relative to {base}, {grid_point('T', length)} (left is better)")
    axis.set_title("held-out bits per byte (lower is better)")
    lines = [(each.ci_low, each.bits_per_byte, each.ci_high, each.bits_per_byte) for each in points]
    named = [(each.relative_cost, each.bits_per_byte, in_lines(cases[each.arm])) for each in points]
    without = label(axis, named, [*lines, *_along(_ladder(cases, points))])
    runs = [unit.protocol.train for unit in loaded.runs if unit.protocol.train]
    caption = Sentence(
        "{seeds}; {tokens} training tokens.",
        seeds=seeds_in_words(loaded),
        tokens=max(run.steps * run.tokens_per_step for run in runs),
    )
    key = [cases[points[i].arm] for i in without]
    yield Figure("loss-cost", made, "Held-out loss against cost", caption, data, marks=marks, key=key)


def _row(loaded: Loaded, case: Case, metric: str, length: int) -> dict[str, object] | None:
    """The mark of an arm: its cost relative to the baseline's, and its loss in bits per byte."""
    own, pair = loaded.case(case.arm, LOSS, beside(loaded, length)), loaded.pair(case.arm, metric, length)
    cost = Estimate(1.0)
    if case is not loaded.baseline:
        if pair is None or pair.status != "ok":
            return None
        cost = of_row(pair, case, loaded.baseline).typical.mirrored()
    if own is None or own.status != "ok":
        return None
    low, high = cost.ends or (cost.value, cost.value)
    return {
        "arm": case.arm,
        "metric": metric,
        "seq_len": length,
        "baseline_arm": loaded.baseline.arm,
        "relative_cost": cost.value,
        "ci_low": low,
        "ci_high": high,
        "bits_per_byte": float(own.value),
        "saw_later_tokens": looked_ahead(own),
    }


def _ladder(cases: Mapping[str, Case], points: Sequence[Row]) -> list[tuple[float, float]]:
    """The marks of dense models, from the left; a single one is no line."""
    found = sorted((each.relative_cost, each.bits_per_byte) for each in points if cases[each.arm].model == "dense")
    return found if len(found) > 1 else []


def _along(line: Sequence[tuple[float, float]]) -> list[tuple[float, float, float, float]]:
    """Return points of a polyline as boxes for labels to avoid."""
    walked = [(i / 16, pair) for pair in itertools.pairwise(line) for i in range(17)]
    places = [(x0 + s * (x1 - x0), y0 + s * (y1 - y0)) for s, ((x0, y0), (x1, y1)) in walked]
    return [(x, y, x, y) for x, y in places]


def _draw(axis: Axes, cases: Mapping[str, Case], points: Sequence[Row], marks: Marks) -> None:
    # Frames the marks; an interval may leave it: one of a noisy case would press all marks together.
    xs, ys = [each.relative_cost for each in points], [each.bits_per_byte for each in points]
    across, along = max(xs) - min(xs) or 0.2, max(ys) - min(ys) or 0.02
    axis.set_xlim(min(xs) - 0.25 * across, max(xs) + 0.25 * across)
    axis.set_ylim(min(ys) - 0.15 * along, max(ys) + 0.15 * along)
    if ladder := _ladder(cases, points):
        costs, losses = zip(*ladder, strict=True)
        best = [*itertools.accumulate(losses, min)]
        right = (*costs, axis.get_xlim()[1]), [*best, best[-1]]
        axis.fill_between(*right, axis.get_ylim()[0], color=HAIR, alpha=0.55, linewidth=0, zorder=0)
        axis.plot(costs, losses, color=look(cases[points[0].arm]).color, linewidth=1.2, alpha=0.6, zorder=1)
    for each in points:
        x, y, style = each.relative_cost, each.bits_per_byte, look(cases[each.arm])
        draw_lines(axis, [(each.ci_low, y, each.ci_high, y, style.color)], 0.9, 0.6)
        face = PAPER if each.saw_later_tokens else style.color
        made = axis.scatter([x], [y], s=46, marker=style.marker, c=face, edgecolors=style.color, zorder=3)
        cost = Estimate(x, each.ci_low, each.ci_high, "share")
        said = Sentence(
            "{arm}: {cost} of {base}'s cost, {loss} bits/byte" + ", saw later tokens" * each.saw_later_tokens,
            arm=short(cases[each.arm]),
            cost=cost if each.ci_low < each.ci_high else cost.alone,
            base=short(cases[each.baseline_arm]),
            loss=Estimate(y, unit="loss"),
        )
        marks.name(made, Mark(plain(said), each.arm))


READING = (
    "Each mark is one arm: sideways its cost relative to the anchor, upwards its loss on text that it was not trained on. "
    "Left and low is good. Dense models of several sizes, where they were trained, are what a reader could take instead, and "
    "joined by a line. Shaded is what lies below the best dense model of at most that cost. Thin lines are 95 % intervals of "
    "the cost; a hollow mark saw later tokens. A short training run says little about a long one."
)

PANEL = Panel(title="What does it cost in loss?", order=30, span=5, render=render, draws=True, reading=READING)
