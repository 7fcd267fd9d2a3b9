"""Measured speed-up against what the FLOPs promise."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from modbench.reports.load import Loaded
from modbench.reports.panel import Panel, figure, is_number
from modbench.reports.style import HAIR, INK, MUTED, look, name, new_figure, to_svg

_SIDES = (("forward pass", "latency/forward"), ("train step", "latency/train_step"))


def render(loaded: Loaded) -> Markup | None:
    """One mark per arm and length, larger for longer; on the diagonal every FLOP saved became time saved."""
    sides = []
    for title, metric in _SIDES:
        rows = loaded.comparisons[(loaded.comparisons.metric == metric) & loaded.comparisons.ideal.notna()]
        if not rows.empty:
            sides.append((title, rows))
    if not sides:
        return None
    made, axes = new_figure(4.2, 2.9, len(sides), share_y=True)
    for axis, (title, rows) in zip(axes, sides, strict=True):
        _draw(axis, loaded, rows, title)
    axes[0].set_ylabel("measured (higher is better)")  # type: ignore[attr-defined]  # an Axes
    shown = " ".join(f"{look(case).glyph} {name(case)}" for case in loaded.arms[1:])
    return figure(
        to_svg(made, "ideal", "Measured speed-up against the speed-up that FLOPs promise"),
        f"On the diagonal every saved FLOP (causal attention) became saved time. Larger marks are longer sequences. {shown}.",
    )


def _draw(axis: Any, loaded: Loaded, rows: Any, title: str) -> None:  # noqa: ANN401  # a matplotlib Axes and a frame
    cases = {case.arm: case for case in loaded.arms}
    sizes = {length: 4 + 2.5 * i for i, length in enumerate(loaded.lengths)}
    low = min(rows.ideal.min(), rows.ratio.min(), 1.0)
    high = max(rows.ideal.max(), rows.ratio.max(), 1.0)
    pad = (high - low) * 0.08
    axis.plot([low - pad, high + pad], [low - pad, high + pad], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    axis.axhline(1, color=HAIR, linewidth=1.2)
    for row in rows.itertuples():
        style = look(cases[row.arm])
        if is_number(row.ci_low):
            axis.plot([row.ideal] * 2, [row.ci_low, row.ci_high], color=style.color, linewidth=1)
        mark = {"markerfacecolor": style.color, "markeredgecolor": INK, "markeredgewidth": 0.5, "alpha": style.opacity}
        axis.plot([row.ideal], [row.ratio], style.marker, markersize=sizes.get(row.seq_len, 6), **mark)
    axis.set_title(f"{title}")
    axis.set_xlabel("promised by FLOPs")
    ticks = [t for t in (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0) if low - pad <= t <= high + pad]
    axis.set_xticks(ticks, [f"{t:g}×" for t in ticks])
    axis.set_yticks(ticks, [f"{t:g}×" for t in ticks])


PANEL = Panel(title="Did FLOPs become milliseconds?", order=40, span=4, render=render)
