"""The curves of both sides on the way to a target, over steps and over time, with the range of their runs."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from modbench.extend import MUTED, Figure, Sentence, new_figure, style
from modbench.plugins.ab.printed import Target
from modbench.plugins.ab.to_target import Point

Curve = Sequence[Point]
SIDES = ("base", "new")
# What a curve is drawn over, with the words below it.
OVER = {"step": "steps", "wall_s": "seconds since the start"}
# In inches; and the width in pixels from which the figures stand side by side.
SIZE, LEAST = (5.8, 3.2), 420
# The worst values of a curve, which would press all others together, are cut off: so many times as far from the target as the
# best value is.
FARTHEST = 8.0


def figures(curves: tuple[Sequence[Curve], Sequence[Curve]], target: Target) -> list[Figure]:
    """Draw the curves over steps, and over time.

    Args:
        curves: of each run of the base, and of the new side.
        target: what they shall reach.
    """
    sides = {side: _over_runs(runs) for side, runs in zip(SIDES, curves, strict=True)}
    sign = 1 if target.better == "lower" else -1
    ends = [float(rows["value"].iloc[-1]) for rows in sides.values()]
    best = min(ends, key=lambda end: sign * end)
    apart = max(abs(best - target.value), abs(target.value) / 100)
    limits = sorted((target.value + sign * FARTHEST * apart, best - sign * apart / 2))
    words = "Mean of the runs; band: from the lowest to the highest run. Dashed: {target}."
    caption = Sentence(words, target=target.written)
    made = list[Figure]()
    for along, title in OVER.items():
        drawn, (axis,) = new_figure(*SIZE)
        for (side, rows), color in zip(sides.items(), style.SERIES, strict=False):
            axis.fill_between(rows[along], rows["low"], rows["high"], color=color, alpha=0.15, linewidth=0)
            axis.plot(rows[along], rows["value"], color=color, label=side)
        axis.axhline(target.value, color=MUTED, linestyle="--", linewidth=1)
        axis.set(xlabel=title, ylabel=target.name, ylim=limits)
        axis.legend()
        data = pd.concat([rows.assign(side=side) for side, rows in sides.items()])
        label = f"{target.name} of both sides over {title}"
        made.append(Figure(f"curves-{along}", drawn, label, caption, data, least=LEAST))
    return made


def _over_runs(runs: Sequence[Curve]) -> pd.DataFrame:
    """The means of the runs at each step that all have, and the range of their values."""
    rows = pd.DataFrame([each for run in runs for each in run], columns=list(Point._fields)).astype(float)
    by_step = rows.groupby("step")
    ends = {"low": by_step["value"].min(), "high": by_step["value"].max()}
    return by_step.mean().assign(**ends)[by_step.size() == len(runs)].reset_index()
