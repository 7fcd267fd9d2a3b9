"""Training loss over tokens, every arm on the same text in the same order."""

from __future__ import annotations

import math

from markupsafe import Markup

from modbench.reports.load import Loaded
from modbench.reports.panel import Panel, figure
from modbench.reports.style import MUTED, look, name, new_figure, to_svg

SMOOTHING = 12  # steps of the moving average


def render(loaded: Loaded) -> Markup | None:
    """Bits per byte of the training batches, averaged over neighbouring steps."""
    import pandas as pd

    suite, metric = loaded.run.plan.suite, loaded.trained_metric
    if metric is None or suite.isoflop:
        return None
    made, (axis,) = new_figure(4.0, 2.9)
    drawn = 0
    for case in loaded.arms:
        ids = loaded.cases[(loaded.cases.arm == case.arm) & (loaded.cases.metric == metric)].case_id
        curve = loaded.tables.cell(ids.iloc[0], metric).note("curve") if not ids.empty else None
        if not curve:
            continue
        drawn += 1
        bits = pd.Series(curve["loss"]) / math.log(2)
        window = max(1, min(SMOOTHING, len(bits) // 4))
        smooth = bits.rolling(window, min_periods=window).mean()
        style = look(case)
        dash = (0, (3, 2)) if case.rung or case.model == "moe" else "-"
        every = max(1, len(bits) // 6)
        axis.plot(  # type: ignore[attr-defined]  # an Axes
            curve["tokens"],
            smooth,
            color=style.color,
            alpha=style.opacity,
            linestyle=dash,
            marker=style.marker,
            markevery=(drawn * 2 % every, every),
            markersize=4.5,
            linewidth=1.3,
            label=f" {name(case)}",  # matplotlib hides labels that start with an underscore
        )
    if not drawn or suite.train is None:
        return None
    axis.set_title("training bits per byte (lower is better)")  # type: ignore[attr-defined]  # an Axes
    axis.set_xlabel("training tokens")  # type: ignore[attr-defined]  # an Axes
    axis.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k" if value else "0")  # type: ignore[attr-defined]  # an Axes
    axis.legend(ncols=2, fontsize=7, labelcolor=MUTED, handlelength=2.2, columnspacing=1.2)  # type: ignore[attr-defined]  # an Axes
    runs = [unit.protocol.train for unit in loaded.runs if unit.protocol.train]
    steps, rates = (sorted({getattr(run, key) for run in runs}) for key in ("steps", "lr"))
    reading = (
        f"{_span(steps)} steps of {runs[0].tokens_per_step} tokens, AdamW at {_span(rates)} with cosine to zero, seed "
        f"{suite.seeds[0]}. Same text, same order, same initial weights where shapes agree. Top-k routing sees the future while "
        "choosing."
    )
    return figure(to_svg(made, "curves", "Training loss over tokens by arm"), reading)


def _span(values: list[float]) -> str:
    """`80`, or `80–140` where runs differ."""
    low, high = f"{values[0]:.3g}", f"{values[-1]:.3g}"
    return low if low == high else f"{low}–{high}"


PANEL = Panel(title="How did they learn?", order=60, span=4, render=render)
