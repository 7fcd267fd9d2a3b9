"""Which settings are worth considering: time against loss, and time against memory."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from modbench.harness.core.errors import UsageError
from modbench.harness.core.units import human, scale_of
from modbench.reports.figures.marks import Mark, Marks
from modbench.reports.figures.point_labels import label
from modbench.reports.figures.style import HAIR, MUTED, PAPER, look, new_figure
from modbench.reports.model import Figure
from modbench.reports.panel import Panel
from modbench.reports.questions.recommend.candidates import IN_WORDS, KV_CACHE, SIZE, Candidate, Choice, choice
from modbench.reports.questions.recommend.limits import loss_against
from modbench.reports.questions.recommend.pareto import Weighed, pareto
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.losses import seeds_in_words
from modbench.reports.wording.arm_names import in_title, name, short
from modbench.reports.writers.inline import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AXES = {"latency": "time", "memory": "memory", "loss": "loss"}
# Names in the line below the figure; of more the number.
MOST_NAMED = 6


@dataclass(frozen=True)
class Point:
    """A setting in a figure: values with the ends of their intervals, in base units."""

    weighed: Weighed
    x: tuple[float, float, float]
    y: tuple[float, float, float]


def render(loaded: Loaded) -> list[Figure]:
    """Draw the settings at the longest length, those greyed that are shown to be worth less than another."""
    try:
        chosen = choice(loaded)
    except UsageError:  # a sweep over sizes, or nothing to choose by
        return []
    shown = {case.arm for case in (loaded.arms[0], *loaded.arms_shown)}
    axes, weighed = pareto(loaded, chosen, [each for each in chosen.considered if each.case.arm in shown])
    if "latency" not in axes or len(axes) < 2 or len(weighed) < 2:
        return []
    planes = [axis for axis in ("loss", "memory") if axis in axes]
    reading = _reading(loaded, chosen, axes, weighed)
    captions = [reading, "The same settings by memory; grey marks are ruled out by the three together."]
    return [_plane(loaded, chosen, weighed, what, said) for what, said in zip(planes, captions, strict=False)]


def _plane(loaded: Loaded, chosen: Choice, weighed: Sequence[Weighed], what: str, caption: str) -> Figure:
    """Draw time against loss or memory."""
    points = [_point(loaded, each, chosen.baseline, what) for each in weighed]
    per, unit = scale_of(max(point.x[0] for point in points), "s")
    size, bytes_ = scale_of(max(point.y[0] for point in points), "B") if what == SIZE else (1 / chosen.loss_unit[1], "")
    made, (axis,) = new_figure(5.4, 4.0)
    marks = Marks()
    drawn = [_scaled(point, per, size) for point in points]
    _draw(axis, drawn, marks, [_said(point, chosen, what) for point in points])
    where = plain(chosen.place).removeprefix(IN_WORDS[chosen.workload])
    axis.set_xlabel(f"{IN_WORDS[chosen.workload]}{where}: {unit} (left is better)")
    if what == "loss":
        axis.set_title(
            f"held-out loss against {in_title(chosen.baseline.case)}, {chosen.loss_unit[0]} (lower is better)"
        )
    else:
        kept = any(each.candidate.memory.metric == KV_CACHE for each in weighed)
        axis.set_title(
            f"{'memory of keys and values' if kept else 'peak memory of a training step'}, {bytes_} (lower is better)"
        )
    taken = [box for point in drawn for box in _whiskers(point)]
    for (x, y), (then, lower) in itertools.pairwise(_steps(drawn)):
        taken += [(x, y, then, y), (then, lower, then, y)]
    label(axis, [(point.x[0], point.y[0], short(point.weighed.candidate.case)) for point in drawn], taken)
    identity = "pareto" if what == "loss" else "pareto-memory"
    about = f"Time against {what} of every setting"
    return Figure(identity, made, about, caption, _data(points, chosen, what), marks=marks, least=360)


def _point(loaded: Loaded, each: Weighed, baseline: Candidate, what: str) -> Point:
    time = each.candidate.time
    x = time.value or 0.0
    ends = (x, x) if time.low is None or time.high is None else (time.low, time.high)
    memory = each.candidate.memory.value or 0.0
    y = (memory, memory, memory) if what == SIZE else _rise(loaded, each.candidate, baseline)
    return Point(each, (x, *ends), y)


def _rise(loaded: Loaded, each: Candidate, baseline: Candidate) -> tuple[float, float, float]:
    """Return how much a loss lies above the baseline's, seed by seed, with its interval."""
    found = loss_against(loaded, each, baseline)
    if found is None or found.typical.value is None:
        rise = (each.loss.value or 0.0) - (baseline.loss.value or 0.0)
        return rise, rise, rise
    made = found.typical
    ends = (made.low, made.high) if made.low is not None and made.high is not None else (found.typical.value,) * 2
    return found.typical.value, *ends


def _scaled(point: Point, x: float, y: float) -> Point:
    across, up = (
        (value / scale, low / scale, high / scale) for scale, (value, low, high) in ((x, point.x), (y, point.y))
    )
    return Point(point.weighed, across, up)


def _whiskers(point: Point) -> list[tuple[float, float, float, float]]:
    (x, left, right), (y, low, high) = point.x, point.y
    return [(left, y, right, y), (x, low, x, high)]


def _steps(points: Sequence[Point]) -> list[tuple[float, float]]:
    """Return the estimates that no other beats in the plane of the figure, from the left."""
    places = sorted((point.x[0], point.y[0]) for point in points)
    return [(x, y) for x, y in places if not any(a <= x and b <= y and (a, b) != (x, y) for a, b in places)]


def _draw(axis: Axes, points: Sequence[Point], marks: Marks, said: Sequence[str]) -> None:
    if len(steps := _steps(points)) > 1:
        axis.step(*zip(*steps, strict=True), where="post", color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
    for point, text in zip(points, said, strict=True):
        case, out = point.weighed.candidate.case, point.weighed.beaten_by is not None
        color = HAIR if out else look(case).color
        for left, low, right, high in _whiskers(point):
            axis.plot([left, right], [low, high], color=color, linewidth=1.2, zorder=2)
        face, edge = PAPER if point.weighed.candidate.flattered else color, MUTED if out else look(case).color
        made = axis.scatter(
            [point.x[0]], [point.y[0]], s=46, marker=look(case).marker, c=face, edgecolors=edge, zorder=3
        )
        marks.name(made, Mark(text, case.arm))
    axis.margins(x=0.16, y=0.14)


def _said(point: Point, chosen: Choice, what: str) -> str:
    """Return what a mark says on hover and focus."""
    each, (_, left, right) = point.weighed, point.x
    between = f" [{human(left, 's')}–{human(right, 's')}]" if left < right else ""
    unit, factor = chosen.loss_unit
    value = f"loss {factor * point.y[0]:+.4f} {unit} against {short(chosen.baseline.case)}"
    value = human(point.y[0], "B") if what == SIZE else value
    said = [f"{short(each.candidate.case)}: {human(point.x[0], 's')}{between}", value]
    said += ["saw later tokens"] if each.candidate.flattered and what == "loss" else []
    said += [f"ruled out by {short(each.beaten_by.case)}"] if each.beaten_by is not None else []
    return ", ".join(said)


def _data(points: Sequence[Point], chosen: Choice, what: str) -> pd.DataFrame:
    rows = [
        {
            "case_id": each.candidate.case.id,
            "arm": each.candidate.case.arm,
            "baseline_arm": chosen.baseline.case.arm,
            "metric": each.candidate.time.metric,
            "value": point.x[0],
            "ci_low": each.candidate.time.low,
            "ci_high": each.candidate.time.high,
            "other_metric": each.candidate.of(what).metric,
            "other_value" if what == SIZE else "other_difference": point.y[0],
            "other_ci_low": point.y[1] if point.y[1] < point.y[2] else None,
            "other_ci_high": point.y[2] if point.y[1] < point.y[2] else None,
            "saw_later_tokens": each.candidate.flattered,
            "ruled_out_by": None if each.beaten_by is None else each.beaten_by.case.arm,
        }
        for point in points
        for each in (point.weighed,)
    ]
    return pd.DataFrame(rows)


def _reading(loaded: Loaded, chosen: Choice, axes: Sequence[str], weighed: Sequence[Weighed]) -> str:
    """Return the line below the figures: who stays, who is ruled out by whom, and what is not shown."""
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
    if "loss" in axes:
        said.append(f"{seeds_in_words(loaded)}.")
        if any(each.candidate.flattered for each in weighed):
            said.append("Hollow: top-k routing saw later tokens, so that loss flatters it and rules nothing out.")
    else:
        said.append("No loss was measured: what is faster or smaller here may predict worse.")
    said.append("A dashed line joins the best estimates; whiskers are 95 % intervals.")
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


READING = (
    "Each mark is a setting: further left it takes less time, further down it has a lower loss or needs less memory. A setting "
    "is ruled out, in grey, only if another is shown to be better in one of these and worse in none; where intervals overlap, "
    "both stay. `modbench recommend` picks one of them under limits that you name."
)

PANEL = Panel(
    title="Which settings are worth considering?", order=32, span=12, render=render, draws=True, reading=READING
)
