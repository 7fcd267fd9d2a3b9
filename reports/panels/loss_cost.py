"""Loss against cost, with the ladder of smaller dense models as the curve to beat."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypeAlias

import pandas as pd

from modbench.harness.core.case import Case
from modbench.reports.figures.marks import Mark, Marks
from modbench.reports.figures.point_labels import label
from modbench.reports.figures.style import HAIR, PAPER, look, new_figure
from modbench.reports.model import Figure
from modbench.reports.panel import Panel
from modbench.reports.tables.cases import looked_ahead
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.losses import seeds_in_words
from modbench.reports.wording.arm_names import in_title, short
from modbench.reports.wording.words import is_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes


# Arm, cost relative to the baseline with the ends of its interval, loss in bits per byte.
Point: TypeAlias = tuple[Case, float, float, float, float]


def render(loaded: Loaded) -> list[Figure]:
    """Plot bits per byte after the same tokens over relative time of a train step (else forward time, else FLOPs)."""
    suite = loaded.run.plan.suite
    if (
        len(loaded.arms) == 1
        or suite.train is None
        or suite.isoflop
        or not loaded.lengths
        or "bpb/val" not in suite.metrics
    ):
        return []
    length = suite.train.seq_len if suite.train.seq_len in loaded.lengths else loaded.lengths[-1]
    metric = next((m for m in ("latency/train_step", "latency/forward", "flops/forward") if m in suite.metrics), None)
    if metric is None:
        return []
    points = [point for case in (loaded.arms[0], *loaded.arms_shown) if (point := _point(loaded, case, metric, length))]
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
    axis.set_xlabel(f"{what[metric]} relative to {in_title(loaded.arms[0])}, T = {length} (left is better)")
    axis.set_title("held-out bits per byte (lower is better)")
    taken = [(low, loss, high, loss) for _, _, low, high, loss in points] + _along(_ladder(points))
    label(axis, [(x, loss, short(case)) for case, x, _, _, loss in points], taken)
    runs = [unit.protocol.train for unit in loaded.runs if unit.protocol.train]
    trained = max(run.steps * run.tokens_per_step for run in runs)
    precision = " (fp32 weights, bf16 autocast)" if "bf16" in suite.grid.dtype else ""
    reading = (
        "A mark in the shaded region ends below the best dense model of at most its cost; between rungs of the grey ladder that "
        f"is interpolated. Thin lines: 95 % intervals of the cost. {seeds_in_words(loaded)}; {trained:,} training tokens"
        f"{precision}. Hollow marks: top-k routing saw later tokens, so those losses flatter it."
    )
    data = _data(loaded, points, metric, length)
    return [Figure("loss-cost", made, "Held-out loss against cost", reading, data, marks=marks)]


def _data(loaded: Loaded, points: list[Point], metric: str, length: int) -> pd.DataFrame:
    rows = [
        {
            "arm": case.arm,
            "metric": metric,
            "seq_len": length,
            "baseline_arm": loaded.arms[0].arm,
            "relative_cost": x,
            "ci_low": low,
            "ci_high": high,
            "bits_per_byte": loss,
            "saw_later_tokens": _saw_future(loaded, case),
        }
        for case, x, low, high, loss in points
    ]
    return pd.DataFrame(rows)


def _point(loaded: Loaded, case: Case, metric: str, length: int) -> Point | None:
    loss = loaded.value(case.arm, "bpb/val")
    if loss is None:
        return None
    if case is loaded.arms[0]:
        return case, 1.0, 1.0, 1.0, loss
    row = loaded.pair(case.arm, metric, length)
    if row is None or row.status != "ok":
        return None
    low, high = (row.ci_low, row.ci_high) if is_number(row.ci_low) else (row.ratio, row.ratio)
    return case, 1 / row.ratio, 1 / high, 1 / low, loss


def _saw_future(loaded: Loaded, case: Case) -> bool:
    rows = loaded.cases[(loaded.cases.arm == case.arm) & (loaded.cases.metric == "bpb/val")]
    return looked_ahead(rows.iloc[0])


def _ladder(points: list[Point]) -> list[tuple[float, float]]:
    return sorted((x, y) for case, x, _, _, y in points if case.model == "dense")


def _along(line: list[tuple[float, float]], steps: int = 16) -> list[tuple[float, float, float, float]]:
    """Return points of a polyline as boxes for labels to avoid."""
    walked = [(i / steps, pair) for pair in itertools.pairwise(line) for i in range(steps + 1)]
    places = [(x0 + s * (x1 - x0), y0 + s * (y1 - y0)) for s, ((x0, y0), (x1, y1)) in walked]
    return [(x, y, x, y) for x, y in places]


def _draw(axis: Axes, loaded: Loaded, points: list[Point], marks: Marks) -> None:
    from matplotlib.collections import LineCollection

    # Frames the marks; an interval may leave it: one of a noisy case would press all marks together.
    xs, ys = [x for _, x, *_ in points], [point[-1] for point in points]
    across, along = max(xs) - min(xs) or 0.2, max(ys) - min(ys) or 0.02
    axis.set_xlim(min(xs) - 0.25 * across, max(xs) + 0.25 * across)
    axis.set_ylim(min(ys) - 0.15 * along, max(ys) + 0.15 * along)
    ladder = _ladder(points)
    if len(ladder) > 1:
        costs, losses = zip(*ladder, strict=True)
        best = [*itertools.accumulate(losses, min)]
        right = (*costs, axis.get_xlim()[1]), [*best, best[-1]]
        axis.fill_between(*right, axis.get_ylim()[0], color=HAIR, alpha=0.55, linewidth=0, zorder=0)
        axis.plot(costs, losses, color=look(points[0][0]).color, linewidth=1.2, alpha=0.6, zorder=1)
    lines = [[(low, y), (high, y)] for _, _, low, high, y in points]
    colors = [look(case).color for case, *_ in points]
    axis.add_collection(LineCollection(lines, colors=colors, linewidths=0.9, alpha=0.6, zorder=2), autolim=False)
    for case, x, low, high, y in points:
        style, future = look(case), _saw_future(loaded, case)
        made = axis.scatter(
            [x], [y], s=46, marker=style.marker, c=PAPER if future else style.color, edgecolors=style.color, zorder=3
        )
        between = f" [{low:.2f}–{high:.2f}]" if low < high else ""
        said = f"{short(case)}: {x:.2f}{between} of {short(loaded.arms[0])}'s cost, {y:.3f} bits/byte"
        marks.name(made, Mark(said + (", saw later tokens" if future else ""), case.arm))


READING = (
    "Each mark is one arm: sideways its cost relative to the anchor, upwards its loss on text that it was not trained"
    " on. Left and low is good. The grey line joins dense models of several sizes, which are what a reader could take"
    " instead: an arm is worth its trouble where its mark lies below that line. A short training run says little "
    "about a long one."
)

PANEL = Panel(title="What does it cost in loss?", order=30, span=5, render=render, draws=True, reading=READING)
