"""Loss against cost, with the ladder of smaller dense models as the curve to beat."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
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
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.losses import beside, seeds_in_words
from modbench.reports.wording import in_title, short
from modbench.reports.writers.number_format import grid_point, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Point:
    """An arm in the figure: its cost relative to the baseline's, and its loss in bits per byte."""

    case: Case
    cost: Estimate
    loss: float
    looked_ahead: bool

    @property
    def place(self) -> tuple[float, float]:
        """Where its mark stands."""
        assert self.cost.value is not None, "an arm without a cost has no point"
        return self.cost.value, self.loss

    @property
    def ends(self) -> tuple[float, float]:
        """From where to where its line goes."""
        return self.cost.ends or (self.place[0], self.place[0])


def render(loaded: Loaded) -> list[Figure]:
    """Plot bits per byte after the same tokens over relative time of a train step (else forward time, else FLOPs)."""
    suite = loaded.suite
    if (
        len(loaded.arms) == 1
        or suite.train is None
        or loaded.sizes_differ
        or not loaded.lengths
        or "bpb/val" not in suite.metrics
    ):
        return []
    trained = max(suite.train.lengths)
    length = trained if trained in loaded.lengths else loaded.lengths[-1]
    metric = next((m for m in ("latency/train_step", "latency/forward", "flops/forward") if m in suite.metrics), None)
    if metric is None:
        return []
    points = [point for case in loaded.shown if (point := _point(loaded, case, metric, length))]
    if not points:
        return []
    made, (axis,) = new_figure(4.6, 4.1)
    marks = Marks()
    _draw(axis, loaded, points, marks)
    what = {
        "latency/train_step": "train-step time",
        "latency/forward": "forward time",
        "flops/forward": "forward FLOPs",
    }
    axis.set_xlabel(
        f"{what[metric]} relative to {in_title(loaded.baseline)}, {grid_point('T', length)} (left is better)"
    )
    axis.set_title("held-out bits per byte (lower is better)")
    taken = [(low, each.loss, high, each.loss) for each in points for low, high in [each.ends]] + _along(
        _ladder(points)
    )
    without = label(axis, [(*each.place, in_lines(each.case)) for each in points], taken)
    runs = [unit.protocol.train for unit in loaded.runs if unit.protocol.train]
    trained = max(run.steps * run.tokens_per_step for run in runs)
    caption = Sentence(
        "{seeds}; {trained} training tokens"
        + " (fp32 weights, bf16 autocast)" * ("bf16" in suite.grid.dtype)
        + "."
        + " Hollow: top-k routing saw later tokens." * any(each.looked_ahead for each in points)
        + " Grey line: dense models." * (len(_ladder(points)) > 1),
        seeds=seeds_in_words(loaded),
        trained=trained,
    )
    data = _data(loaded, points, metric, length)
    return [
        Figure(
            "loss-cost",
            made,
            "Held-out loss against cost",
            caption,
            data,
            marks=marks,
            key=[points[i].case for i in without],
        )
    ]


def _data(loaded: Loaded, points: list[Point], metric: str, length: int) -> pd.DataFrame:
    rows = [
        {
            "arm": each.case.arm,
            "metric": metric,
            "seq_len": length,
            "baseline_arm": loaded.baseline.arm,
            "relative_cost": each.place[0],
            "ci_low": each.ends[0],
            "ci_high": each.ends[1],
            "bits_per_byte": each.loss,
            "saw_later_tokens": each.looked_ahead,
        }
        for each in points
    ]
    return pd.DataFrame(rows)


def _point(loaded: Loaded, case: Case, metric: str, length: int) -> Point | None:
    own = loaded.case(case.arm, "bpb/val", beside(loaded, length))
    if own is None or own.status != "ok":
        return None
    loss, ahead = float(own.value), looked_ahead(own)
    if case is loaded.baseline:
        return Point(case, Estimate(1.0, kind="fraction"), loss, ahead)
    row = loaded.pair(case.arm, metric, length)
    if row is None or row.status != "ok":
        return None
    cost = replace(of_row(row, case, loaded.baseline).typical.mirrored(), kind="fraction")
    return Point(case, cost, loss, ahead)


def _ladder(points: list[Point]) -> list[tuple[float, float]]:
    return sorted(each.place for each in points if each.case.model == "dense")


def _along(line: list[tuple[float, float]]) -> list[tuple[float, float, float, float]]:
    """Return points of a polyline as boxes for labels to avoid."""
    walked = [(i / 16, pair) for pair in itertools.pairwise(line) for i in range(17)]
    places = [(x0 + s * (x1 - x0), y0 + s * (y1 - y0)) for s, ((x0, y0), (x1, y1)) in walked]
    return [(x, y, x, y) for x, y in places]


def _draw(axis: Axes, loaded: Loaded, points: list[Point], marks: Marks) -> None:
    # Frames the marks; an interval may leave it: one of a noisy case would press all marks together.
    xs, ys = zip(*(each.place for each in points), strict=True)
    across, along = max(xs) - min(xs) or 0.2, max(ys) - min(ys) or 0.02
    axis.set_xlim(min(xs) - 0.25 * across, max(xs) + 0.25 * across)
    axis.set_ylim(min(ys) - 0.15 * along, max(ys) + 0.15 * along)
    ladder = _ladder(points)
    if len(ladder) > 1:
        costs, losses = zip(*ladder, strict=True)
        best = [*itertools.accumulate(losses, min)]
        right = (*costs, axis.get_xlim()[1]), [*best, best[-1]]
        axis.fill_between(*right, axis.get_ylim()[0], color=HAIR, alpha=0.55, linewidth=0, zorder=0)
        axis.plot(costs, losses, color=look(points[0].case).color, linewidth=1.2, alpha=0.6, zorder=1)
    intervals = ((*each.ends, each.loss, look(each.case).color) for each in points)
    draw_lines(axis, ((low, loss, high, loss, color) for low, high, loss, color in intervals), 0.9, 0.6)
    for each in points:
        style, (x, y) = look(each.case), each.place
        face = PAPER if each.looked_ahead else style.color
        made = axis.scatter([x], [y], s=46, marker=style.marker, c=face, edgecolors=style.color, zorder=3)
        said = Sentence(
            "{arm}: {cost} of {base}'s cost, {loss} bits/byte" + ", saw later tokens" * each.looked_ahead,
            arm=short(each.case),
            cost=each.cost,
            base=short(loaded.baseline),
            loss=Estimate(each.loss, kind="loss"),
        )
        marks.name(made, Mark(plain(said), each.case.arm))


READING = (
    "Each mark is one arm: sideways its cost relative to the anchor, upwards its loss on text that it was not trained on. "
    "Left and low is good. Dense models of several sizes, where they were trained, are what a reader could take instead, and "
    "joined by a line. Shaded is what lies below the best dense model of at most that cost. Thin lines are 95 % intervals of "
    "the cost. A short training run says little about a long one."
)

PANEL = Panel(title="What does it cost in loss?", order=30, span=5, render=render, draws=True, reading=READING)
