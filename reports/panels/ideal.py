"""Three rungs: the speed-up that FLOPs promise, the one that this machine can attain, and the one that was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from markupsafe import Markup

from modbench.reports.figure_data import RATIOS
from modbench.reports.load import Loaded
from modbench.reports.panel import TIMED, Drawing, Panel, is_number, on_page
from modbench.reports.style import HAIR, INK, MUTED, look, new_figure, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def render(loaded: Loaded) -> Markup | None:
    """Show the marks."""
    return next(iter(on_page(figures(loaded))), None)


def figures(loaded: Loaded) -> list[Drawing]:
    """Draw one mark per arm and length, larger for longer; on the diagonal time fell as FLOPs promise."""
    sides = []
    for title, metric in TIMED:
        grid, every = loaded.run.plan.suite.grid, loaded.comparisons
        place = (every.batch_size == grid.batch_size[0]) & (every.dtype == grid.dtype[0])
        shown = every.arm.isin([case.arm for case in loaded.arms_shown]) & every.seq_len.isin(loaded.lengths_shown)
        rows = every[(every.metric == metric) & every.ideal.notna() & place & shown]
        if not rows.empty:
            sides.append((title, rows))
    if not sides:
        return []
    made, axes = new_figure(4.2, 2.9, len(sides), share_y=True)
    # Log axes: a ratio and its inverse are equally far from 1, and a very fast arm leaves room for the others.
    columns = [column for _, rows in sides for column in (rows.ideal, rows.attainable, rows.ratio)]
    values = [value for column in columns for value in column if is_number(value)] + [1.0]
    limits = (min(values) / 1.06, max(values) * 1.06)
    for axis, (title, rows) in zip(axes, sides, strict=True):
        _draw(axis, loaded, rows, title, limits)
    axes[0].set_ylabel("measured (higher is better)")
    legend = " ".join(f"{look(case).glyph} {short(case)}" for case in loaded.arms_shown)
    attainable = ""
    if any(is_number(value) for _, rows in sides for value in rows.attainable):
        attainable = (
            "A dash is what this machine can attain: the same operators at its measured peaks by shape. From the diagonal to the "
            "dash is what small shapes cost; from the dash to the mark is not explained by them. "
        )
    caption = (
        "On the diagonal the saved FLOPs (causal attention; for decode, the bytes not read) saved as much time. "
        f"{attainable}Larger marks are longer sequences. {legend}."
    )
    label = "Measured speed-up against the speed-up that FLOPs promise"
    return [Drawing("ideal", made, label, caption, pd.concat([rows for _, rows in sides])[list(RATIOS)])]


def _draw(axis: Axes, loaded: Loaded, rows: pd.DataFrame, title: str, limits: tuple[float, float]) -> None:
    cases = {case.arm: case for case in loaded.arms}
    sizes = {length: 4 + 2.5 * i for i, length in enumerate(loaded.lengths_shown)}
    low, high = limits
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.plot([low, high], [low, high], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    axis.axhline(1, color=HAIR, linewidth=1.2)
    for _, row in rows.iterrows():
        style = look(cases[row.arm])
        if is_number(row.ci_low):
            axis.plot([row.ideal] * 2, [row.ci_low, row.ci_high], color=style.color, linewidth=1)
        if is_number(row.attainable):
            axis.plot([row.ideal], [row.attainable], "_", color=style.color, markersize=11, markeredgewidth=1.6)
        (mark,) = axis.plot([row.ideal], [row.ratio], style.marker, markersize=sizes.get(row.seq_len, 6))
        mark.set(markerfacecolor=style.color, markeredgecolor=INK, markeredgewidth=0.5, alpha=style.opacity)
    axis.set_title(f"{title}")
    axis.set_xlabel("promised by bytes read" if title == "decode step" else "promised by FLOPs")
    candidates = (0.5, 1.0, 1.5, 2.0, 3.0) if high / low < 4 else [2.0**i for i in range(-6, 10)]
    ticks = [tick for tick in candidates if low <= tick <= high]
    for place in (axis.xaxis, axis.yaxis):
        place.set_ticks(ticks, [f"{tick:g}×" for tick in ticks])
        place.set_ticks([], minor=True)


PANEL = Panel(title="Did FLOPs become milliseconds?", order=40, span=4, render=render, figures=figures)
