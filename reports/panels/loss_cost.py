"""Loss against cost, with the ladder of smaller dense models as the curve to beat."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from modbench.harness.case import Case
from modbench.reports.load import Loaded
from modbench.reports.panel import Panel, figure, trained_length
from modbench.reports.style import INK, look, name, new_figure, to_svg


def render(loaded: Loaded) -> Markup | None:
    """x: relative time of a train step (else of a forward pass, else FLOPs); y: bits per byte after the same tokens."""
    suite = loaded.run.plan.suite
    if suite.train is None or "bpb/val" not in suite.metrics:
        return None
    length = trained_length(loaded)
    metric = next((m for m in ("latency/train_step", "latency/forward", "flops/forward") if m in suite.metrics), None)
    if metric is None or length is None:
        return None
    points = [point for case in loaded.arms if (point := _point(loaded, case, metric, length))]
    if not points:
        return None
    made, (axis,) = new_figure(4.6, 3.5)
    _draw(axis, points)
    what = {
        "latency/train_step": "train-step time",
        "latency/forward": "forward time",
        "flops/forward": "forward FLOPs",
    }
    axis.set_xlabel(f"{what[metric]} relative to {name(loaded.arms[0])}, T = {length} (left is better)")  # type: ignore[attr-defined]  # an Axes
    axis.set_title("held-out bits per byte (lower is better)")  # type: ignore[attr-defined]  # an Axes
    seeds = len(suite.seeds)
    claim = f"{seeds} seed{'s' * (seeds != 1)}" + (": illustration, no claim" if seeds < 3 else "")
    reading = (
        f"A mark below the grey dense ladder would be worth having. {claim}; {suite.train.tokens:,} training tokens. Top-k "
        "routing (hollow marks) saw the future while choosing, so those losses flatter it."
    )
    return figure(to_svg(made, "loss-cost", "Held-out loss against cost"), reading)


def _point(loaded: Loaded, case: Case, metric: str, length: int) -> tuple[Case, float, float, float, float] | None:
    loss = loaded.value(case.arm, "bpb/val")
    if loss is None:
        return None
    if case is loaded.arms[0]:
        return case, 1.0, 1.0, 1.0, loss
    row = loaded.pair(case.arm, metric, length)
    if row is None or row.status != "ok":
        return None
    known = row.ci_low == row.ci_low  # NaN is the only value unequal to itself
    low, high = (row.ci_low, row.ci_high) if known else (row.ratio, row.ratio)
    return case, 1 / row.ratio, 1 / high, 1 / low, loss


def _draw(axis: Any, points: list[tuple[Case, float, float, float, float]]) -> None:  # noqa: ANN401  # a matplotlib Axes
    ladder = sorted((x, y) for case, x, _, _, y in points if case.model == "dense")
    if len(ladder) > 1:
        axis.plot(*zip(*ladder, strict=True), color=look(points[0][0]).color, linewidth=1.2, alpha=0.6, zorder=1)
    for case, x, low, high, y in points:
        style = look(case)
        routed = case.model != "dense" and not case.own
        axis.plot([low, high], [y, y], color=style.color, linewidth=1.2, zorder=2)
        face = "none" if routed else style.color
        axis.plot([x], [y], style.marker, markersize=7, markerfacecolor=face, markeredgecolor=style.color, zorder=3)
    axis.margins(x=0.34, y=0.1)
    axis.autoscale_view()
    _label(axis, points)


def _label(axis: Any, points: list[tuple[Case, float, float, float, float]]) -> None:  # noqa: ANN401  # a matplotlib Axes
    """Names at the ends of intervals, on the left in the left half, pushed up where two would overlap."""
    bottom, top = axis.get_ylim()
    gap = (top - bottom) * 0.058
    middle = (min(x for _, x, *_ in points) + max(x for _, x, *_ in points)) / 2
    for left in (True, False):
        last = -float("inf")
        for case, _, low, high, y in sorted((p for p in points if (p[1] <= middle) == left), key=lambda p: p[4]):
            last = max(y, last + gap)
            side = {"ha": "right", "xytext": (-6, 0)} if left else {"ha": "left", "xytext": (6, 0)}
            end = (low if left else high, last)
            axis.annotate(name(case), end, textcoords="offset points", va="center", fontsize=8, color=INK, **side)


PANEL = Panel(title="What does it cost in loss?", order=30, span=5, render=render)
