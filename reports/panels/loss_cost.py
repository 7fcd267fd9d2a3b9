"""Loss against cost, with the ladder of smaller dense models as the curve to beat."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pandas as pd
from markupsafe import Markup

from modbench.harness.core.case import Case
from modbench.reports.cases import looked_ahead
from modbench.reports.load import Loaded
from modbench.reports.panel import Drawing, Panel, is_number, on_page, seeds_in_words
from modbench.reports.point_labels import label
from modbench.reports.style import look, name, new_figure, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def render(loaded: Loaded) -> Markup | None:
    """Show loss over cost."""
    return next(iter(on_page(figures(loaded))), None)


def figures(loaded: Loaded) -> list[Drawing]:
    """Plot bits per byte after the same tokens over relative time of a train step (else forward time, else FLOPs)."""
    suite = loaded.run.plan.suite
    if suite.train is None or suite.isoflop or not loaded.lengths or "bpb/val" not in suite.metrics:
        return []
    length = suite.train.seq_len if suite.train.seq_len in loaded.lengths else loaded.lengths[-1]
    metric = next((m for m in ("latency/train_step", "latency/forward", "flops/forward") if m in suite.metrics), None)
    if metric is None:
        return []
    points = [point for case in (loaded.arms[0], *loaded.arms_shown) if (point := _point(loaded, case, metric, length))]
    if not points:
        return []
    made, (axis,) = new_figure(4.6, 4.1)
    _draw(axis, loaded, points)
    what = {
        "latency/train_step": "train-step time",
        "latency/forward": "forward time",
        "flops/forward": "forward FLOPs",
    }
    axis.set_xlabel(f"{what[metric]} relative to {name(loaded.arms[0])}, T = {length} (left is better)")
    axis.set_title("held-out bits per byte (lower is better)")
    taken = [(low, loss, high, loss) for _, _, low, high, loss in points] + _along(_ladder(points))
    label(axis, [(x, loss, short(case)) for case, x, _, _, loss in points], taken)
    runs = [unit.protocol.train for unit in loaded.runs if unit.protocol.train]
    trained = max(run.steps * run.tokens_per_step for run in runs)
    precision = " (fp32 weights, bf16 autocast)" if "bf16" in suite.grid.dtype else ""
    reading = (
        f"A mark below the grey dense ladder beats the dense models. {seeds_in_words(loaded)}; {trained:,} training tokens"
        f"{precision}. Hollow marks: top-k routing saw later tokens, so those losses flatter it."
    )
    data = _data(loaded, points, metric, length)
    return [Drawing("loss-cost", made, "Held-out loss against cost", reading, data)]


def _data(
    loaded: Loaded, points: list[tuple[Case, float, float, float, float]], metric: str, length: int
) -> pd.DataFrame:
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


def _point(loaded: Loaded, case: Case, metric: str, length: int) -> tuple[Case, float, float, float, float] | None:
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


def _ladder(points: list[tuple[Case, float, float, float, float]]) -> list[tuple[float, float]]:
    return sorted((x, y) for case, x, _, _, y in points if case.model == "dense")


def _along(line: list[tuple[float, float]], steps: int = 16) -> list[tuple[float, float, float, float]]:
    """Return points of a polyline as boxes for labels to avoid."""
    walked = [(i / steps, pair) for pair in itertools.pairwise(line) for i in range(steps + 1)]
    places = [(x0 + s * (x1 - x0), y0 + s * (y1 - y0)) for s, ((x0, y0), (x1, y1)) in walked]
    return [(x, y, x, y) for x, y in places]


def _draw(axis: Axes, loaded: Loaded, points: list[tuple[Case, float, float, float, float]]) -> None:
    ladder = _ladder(points)
    if len(ladder) > 1:
        axis.plot(*zip(*ladder, strict=True), color=look(points[0][0]).color, linewidth=1.2, alpha=0.6, zorder=1)
    for case, x, low, high, y in points:
        style = look(case)
        axis.plot([low, high], [y, y], color=style.color, linewidth=1.2, zorder=2)
        face = "none" if _saw_future(loaded, case) else style.color
        axis.plot([x], [y], style.marker, markersize=7, markerfacecolor=face, markeredgecolor=style.color, zorder=3)
    axis.margins(x=0.2, y=0.12)


PANEL = Panel(title="What does it cost in loss?", order=30, span=5, render=render, figures=figures)
