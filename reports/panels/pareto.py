"""Which settings are worth considering: time against loss, or against memory where nothing was trained."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from modbench.harness.core.errors import UsageError
from modbench.harness.core.units import scale_of
from modbench.reports.candidates import IN_WORDS, KV_CACHE, Candidate, Choice, choice
from modbench.reports.limits import loss_against
from modbench.reports.load import Loaded
from modbench.reports.panel import Panel, figure, seeds_in_words
from modbench.reports.pareto import Weighed, pareto
from modbench.reports.point_labels import label
from modbench.reports.style import HAIR, MUTED, look, name, new_figure, short, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AXES = {"latency": "time", "memory": "memory", "loss": "loss"}
# Names in the line below the figure; of more the number.
MOST_NAMED = 6


@dataclass(frozen=True)
class Mark:
    """A setting in the figure: values with the ends of their intervals."""

    weighed: Weighed
    x: tuple[float, float, float]
    y: tuple[float, float, float]


def render(loaded: Loaded) -> Markup | None:
    """Draw the settings at the longest length, those greyed that are shown to be worth less than another."""
    try:
        chosen = choice(loaded)
    except UsageError:  # a sweep over sizes, or nothing to choose by
        return None
    shown = {case.arm for case in (loaded.arms[0], *loaded.arms_shown)}
    axes, weighed = pareto(loaded, chosen, [each for each in chosen.considered if each.case.arm in shown])
    if "latency" not in axes or len(axes) < 2 or len(weighed) < 2:
        return None
    what = "loss" if "loss" in axes else "memory"
    marks, titles = _marks(loaded, chosen, weighed, what)
    made, (axis,) = new_figure(5.4, 4.0)
    _draw(axis, marks)
    axis.set_xlabel(titles[0])
    axis.set_title(titles[1])
    taken = [(mark.x[1], mark.y[0], mark.x[2], mark.y[0]) for mark in marks]
    taken += [(mark.x[0], mark.y[1], mark.x[0], mark.y[2]) for mark in marks]
    for (x, y), (then, lower) in itertools.pairwise(_steps(marks)):
        taken += [(x, y, then, y), (then, lower, then, y)]
    label(axis, [(mark.x[0], mark.y[0], short(mark.weighed.candidate.case)) for mark in marks], taken)
    return figure(
        to_svg(made, "pareto", f"Time against {what} of every setting"), _reading(loaded, chosen, axes, marks, what)
    )


def _marks(loaded: Loaded, chosen: Choice, weighed: Sequence[Weighed], what: str) -> tuple[list[Mark], tuple[str, str]]:
    """Return the marks, and the titles of both axes."""
    times = [each.candidate.time for each in weighed]
    per, unit = scale_of(max(each.value or 0.0 for each in times), "s")
    where = chosen.in_words.removeprefix(IN_WORDS[chosen.workload])
    titles = [f"{IN_WORDS[chosen.workload]}{where}: {unit} (left is better)"]
    scale, size = scale_of(max(each.candidate.memory.value or 0.0 for each in weighed), "B")
    marks = []
    for each in weighed:
        time = each.candidate.time
        x = (time.value or 0.0) / per
        ends = (x, x) if time.low is None or time.high is None else (time.low / per, time.high / per)
        y = _rise(loaded, each.candidate, chosen.baseline)
        if what == "memory":
            bytes_ = (each.candidate.memory.value or 0.0) / scale
            y = (bytes_, bytes_, bytes_)
        marks.append(Mark(each, (x, *ends), y))
    if what == "loss":
        titles.append(f"held-out loss against {name(chosen.baseline.case)}, {_unit(chosen)} (lower is better)")
    else:
        kept = any(each.candidate.memory.metric == KV_CACHE for each in weighed)
        titles.append(
            f"{'memory of keys and values' if kept else 'peak memory of a training step'}, {size} (lower is better)"
        )
    return marks, (titles[0], titles[1])


def _unit(chosen: Choice) -> str:
    return "bits/byte" if chosen.baseline.loss.unit == "bit/B" else "nats"


def _rise(loaded: Loaded, each: Candidate, baseline: Candidate) -> tuple[float, float, float]:
    """Return how much a loss lies above the baseline's, seed by seed, with its interval."""
    found = loss_against(loaded, each, baseline)
    if found is None or found.difference is None:
        rise = (each.loss.value or 0.0) - (baseline.loss.value or 0.0)
        return rise, rise, rise
    ends = (found.low, found.high) if found.low is not None and found.high is not None else (found.difference,) * 2
    return found.difference, *ends


def _steps(marks: Sequence[Mark]) -> list[tuple[float, float]]:
    """Return the estimates that no other beats in the plane of the figure, from the left."""
    points = sorted((mark.x[0], mark.y[0]) for mark in marks)
    return [(x, y) for x, y in points if not any(a <= x and b <= y and (a, b) != (x, y) for a, b in points)]


def _draw(axis: Axes, marks: Sequence[Mark]) -> None:
    if len(steps := _steps(marks)) > 1:
        axis.step(*zip(*steps, strict=True), where="post", color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
    for mark in marks:
        style, out = look(mark.weighed.candidate.case), mark.weighed.beaten_by is not None
        color = HAIR if out else style.color
        (x, left, right), (y, low, high) = mark.x, mark.y
        axis.plot([left, right], [y, y], color=color, linewidth=1.2, zorder=2)
        axis.plot([x, x], [low, high], color=color, linewidth=1.2, zorder=2)
        face = "none" if mark.weighed.candidate.flattered else color
        edge = MUTED if out else style.color
        axis.plot([x], [y], style.marker, markersize=7, markerfacecolor=face, markeredgecolor=edge, zorder=3)
    axis.margins(x=0.16, y=0.14)


def _reading(loaded: Loaded, chosen: Choice, axes: Sequence[str], marks: Sequence[Mark], what: str) -> str:
    """Return the line below the figure: who stays, who is ruled out by whom, and what is not shown."""
    weighed = [mark.weighed for mark in marks]
    stay = [name(each.candidate.case) for each in weighed if each.beaten_by is None]
    said = [f"Worth considering by {_listed(axes)}: {_named(stay)}."]
    ruled: dict[str, list[str]] = {}
    for each in weighed:
        if each.beaten_by is not None:
            better = f"{name(each.beaten_by.case)} is better in {_listed(each.better_in)} than"
            ruled.setdefault(better, []).append(name(each.candidate.case))
    for better, others in ruled.items():
        said.append(f"Ruled out, in grey: {better} {_named(others)}, and in nothing worse.")
    if not ruled:
        said.append(
            "No setting is shown to beat another, that is to be better in one of these and worse in none, so all stay."
        )
    if what == "loss":
        said.append(f"{seeds_in_words(loaded)}.")
        if any(each.candidate.flattered for each in weighed):
            said.append("Hollow: top-k routing saw later tokens, so that loss flatters it and rules nothing out.")
    else:
        said.append("No loss was measured: what is faster or smaller here may predict worse.")
    line = "The dashed line joins the best estimates; whiskers" if len(_steps(marks)) > 1 else "Whiskers"
    said.append(f"{line} are 95 % intervals.")
    left = [name(each.case) for each in chosen.candidates if each.out is not None]
    if left:
        said.append(f"Left out, since they failed or may not do their work: {_named(left)}.")
    return " ".join(said)


def _listed(axes: Sequence[str]) -> str:
    """Return axes in words: `time, memory and loss`."""
    words = [AXES[axis] for axis in axes]
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return "; ".join(names[:MOST_NAMED]) + more


PANEL = Panel(title="Which settings are worth considering?", order=35, span=6, render=render)
