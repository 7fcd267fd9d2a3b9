"""Which settings are worth considering: the Pareto set over time, memory and loss, as far as the evidence goes.

A setting is ruled out only where another is shown to be no worse on every axis and better on one. Where that is open, both stay.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from modbench.extend import (
    BETTER,
    BETTER_OPEN,
    EQUIVALENT,
    HAIR,
    MUTED,
    PAPER,
    Block,
    Estimate,
    Figure,
    Listed,
    Loaded,
    Mark,
    Marks,
    Note,
    Rule,
    Section,
    Sentence,
    Table,
    UsageError,
    columns_of,
    in_lines,
    in_title,
    label,
    look,
    new_figure,
    plain,
    scale_of,
    seeds_in_words,
    short,
)
from modbench.extend import counted_of_contrast as counted
from modbench.plugins.recommend.candidates import IN_WORDS, KV_CACHE, SIZE, Candidate, Choice, choice
from modbench.plugins.recommend.limits import loss_against
from modbench.plugins.sweeps.held_against import has_tail, held_against

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NOT_WORSE, OPEN = "not worse", "open"
# What a verdict shows.
_SHOWN: dict[str | None, str] = {BETTER: BETTER, EQUIVALENT: NOT_WORSE}
# The axes in words.
AXES = {"latency": "time", "memory": "memory", "loss": "loss"}
NO_LOSS = "No loss was measured: what is faster or smaller here may predict worse"


@dataclass(frozen=True)
class Weighed:
    """A setting among the others.

    Attributes:
        candidate: the setting.
        beaten_by: the setting that is shown to be better on one axis and no worse on the others; None: it stays.
        better_in: the axes on which that one is better.
    """

    candidate: Candidate
    beaten_by: Candidate | None
    better_in: tuple[str, ...]


def pareto(loaded: Loaded, chosen: Choice) -> tuple[tuple[str, ...], list[Weighed]]:
    """Return the axes that were measured, and of the settings at a place that figures show those that have a value on each."""
    shown = {case.variant for case in loaded.shown}
    every = [each for each in chosen.considered if each.case.variant in shown]
    axes = tuple(axis for axis in VERSUS if sum(each.of(axis).value is not None for each in every) > 1)
    known = [each for each in every if all(each.of(axis).value is not None for axis in axes)] if axes else []
    beats: dict[int, dict[int, tuple[str, ...]]] = {
        i: {j: better for j, other in enumerate(known) if i != j and (better := _better_in(loaded, each, other, axes))}
        for i, each in enumerate(known)
    }
    reached = {i: _reached(i, beats) for i in beats}
    weighed = []
    # Equal within a margin is not passed on: settings that beat each other in a circle all stay.
    over = {i: [j for j, found in beats.items() if i in found and j not in reached[i]] for i in beats}
    for i, each in enumerate(known):
        # Whoever stays itself is the better reason.
        by = min(over[i], key=lambda j: bool(over[j]), default=None)
        weighed.append(Weighed(each, None, ()) if by is None else Weighed(each, known[by], beats[by][i]))
    return axes, weighed


def _reached(start: int, beats: Mapping[int, Iterable[int]]) -> set[int]:
    """Return all settings that one beats, directly or through others."""
    found, left = set[int](), [start]
    while left:
        new = {*beats[left.pop()]} - found
        found |= new
        left += new
    return found


def _better_in(loaded: Loaded, one: Candidate, other: Candidate, axes: Sequence[str]) -> tuple[str, ...]:
    """Return the axes on which one is shown to be better than the other, if it is shown to be no worse on the rest; else none."""
    margin = 1 + loaded.suite.margin
    # Who is worse by the estimate by more than the margin is not shown to be no worse: most pairs end here.
    if any((one.of(axis).value or 0.0) > (other.of(axis).value or 0.0) * margin for axis in axes):
        return ()
    shown: dict[str, str] = {}
    for axis in sorted(axes, key=lambda axis: axis != SIZE):  # the cheapest first
        shown[axis] = VERSUS[axis](loaded, one, other)
        if shown[axis] == OPEN:
            return ()
    return tuple(axis for axis in axes if shown[axis] == BETTER)


def _in_time(loaded: Loaded, one: Candidate, other: Candidate) -> str:
    found = held_against(loaded, one.case, other.case, one.time.metric)
    if found is None:
        return OPEN
    return NOT_WORSE if found.verdict == BETTER_OPEN and not has_tail(found) else _SHOWN.get(found.verdict, OPEN)


def _in_memory(loaded: Loaded, one: Candidate, other: Candidate) -> str:
    mine, theirs = one.memory, other.memory
    if mine.metric != theirs.metric or not mine.value or not theirs.value:
        return OPEN
    return _SHOWN.get(counted(theirs.value, mine.value, Rule("count", loaded.suite.margin)).verdict, OPEN)


def _in_loss(loaded: Loaded, one: Candidate, other: Candidate) -> str:
    found = loss_against(loaded, one, other)
    return BETTER if found is not None and found.verdict == BETTER and not found.saw_future else OPEN


# The axes, and what judges two settings on each.
VERSUS: dict[str, Callable[[Loaded, Candidate, Candidate], str]]
VERSUS = {"latency": _in_time, "memory": _in_memory, "loss": _in_loss}


# Names in the line below the figure, and in its caption; of more the number.
MOST_NAMED, FEW = 6, 3


class Point(NamedTuple):
    """A setting in a figure: its time, and its memory or by how much its loss lies above the baseline's."""

    weighed: Weighed
    time: Estimate
    other: Estimate

    @property
    def place(self) -> tuple[float, float]:
        """Where its mark stands."""
        return self.time.value or 0.0, self.other.value or 0.0

    @property
    def whiskers(self) -> list[tuple[float, float, float, float]]:
        """Both intervals as lines."""
        x, y = self.place
        (left, right), (low, high) = self.time.ends or (x, x), self.other.ends or (y, y)
        return [(left, y, right, y), (x, low, x, high)]


def render(loaded: Loaded) -> Iterator[Block]:
    """Draw the settings at the longest length, those greyed that are shown to be worth less than another."""
    try:
        chosen = choice(loaded)
    except UsageError:  # a sweep over sizes, or nothing to choose by
        return
    axes, weighed = pareto(loaded, chosen)
    if "latency" not in axes or len(axes) < 2 or len(weighed) < 2:
        return
    caption = Sentence(
        "Worth considering: {settings}. {losses}.",
        settings=Listed([each.candidate.case for each in weighed if each.beaten_by is None], "; ", most=FEW),
        losses=seeds_in_words(loaded) if "loss" in axes else NO_LOSS,
    )
    for what in ("loss", "memory"):
        if what in axes:
            yield _plane(loaded, chosen, weighed, what, caption)
    out = [
        (each.candidate.case, each.beaten_by.case, Listed([AXES[axis] for axis in each.better_in], last=" and "))
        for each in weighed
        if each.beaten_by is not None
    ]
    if out:
        yield Table("Ruled out", ("Ruled out", "By", "Which is better in (and in nothing worse)"), out)
    if left := [each.case for each in chosen.candidates if each.out is not None]:
        words = "Left out, since they failed or may not do their work: {settings}."
        yield Note(Sentence(words, settings=Listed(left, "; ", most=MOST_NAMED)))


def _plane(loaded: Loaded, chosen: Choice, weighed: Sequence[Weighed], what: str, caption: Sentence) -> Figure:
    """Draw time against loss or memory."""
    points = [Point(each, each.candidate.time, _other(loaded, each.candidate, chosen, what)) for each in weighed]
    longest, largest = map(max, zip(*(point.place for point in points), strict=True))
    per, unit = scale_of(longest, "s")
    if what == SIZE:
        size, bytes_ = scale_of(largest, "B")
        kept = any(each.candidate.memory.metric == KV_CACHE for each in weighed)
        title = f"{'memory of keys and values' if kept else 'peak memory of a training step'}, {bytes_}"
    else:
        size = 1 / chosen.loss_unit[1]
        title = f"held-out loss against {in_title(chosen.baseline.case)}, {chosen.loss_unit[0]}"
    made, (axis,) = new_figure(5.4, 4.0)
    marks = Marks()
    drawn = [Point(each, time.scaled(1 / per), other.scaled(1 / size)) for each, time, other in points]
    _draw(axis, drawn, marks, [plain(_hover_text(point, chosen, what)) for point in points])
    where = plain(chosen.grid_point).removeprefix(IN_WORDS[chosen.workload])
    axis.set_xlabel(f"{IN_WORDS[chosen.workload]}{where}: {unit} (left is better)")
    axis.set_title(f"{title} (lower is better)")
    taken = [box for point in drawn for box in point.whiskers]
    for (x, y), (then, lower) in itertools.pairwise(_steps(drawn)):
        taken += [(x, y, then, y), (then, lower, then, y)]
    without = label(axis, [(*point.place, in_lines(point.weighed.candidate.case)) for point in drawn], taken)
    return Figure(
        "pareto" if what == "loss" else "pareto-memory",
        made,
        f"Time against {what} of every setting",
        caption,
        _data(points, chosen, what),
        marks=marks,
        key=[drawn[i].weighed.candidate.case for i in without],
        least=360,
    )


def _other(loaded: Loaded, each: Candidate, chosen: Choice, what: str) -> Estimate:
    """Return the memory, or how much a loss lies above the baseline's, seed by seed."""
    if what == SIZE:
        return each.memory
    if found := loss_against(loaded, each, chosen.baseline):
        return found.typical
    return Estimate((each.loss.value or 0.0) - (chosen.baseline.loss.value or 0.0), kind="difference", unit="nat")


def _steps(points: Sequence[Point]) -> list[tuple[float, float]]:
    """Return the estimates that no other beats in the plane of the figure, from the left."""
    places = sorted(point.place for point in points)
    return [(x, y) for x, y in places if not any(a <= x and b <= y and (a, b) != (x, y) for a, b in places)]


def _draw(axis: Axes, points: Sequence[Point], marks: Marks, said: Sequence[str]) -> None:
    if len(steps := _steps(points)) > 1:
        axis.step(*zip(*steps, strict=True), where="post", color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
    for point, text in zip(points, said, strict=True):
        case, out = point.weighed.candidate.case, point.weighed.beaten_by is not None
        color = HAIR if out else look(case).color
        for left, low, right, high in point.whiskers:
            axis.plot([left, right], [low, high], color=color, linewidth=1.2, zorder=2)
        face, edge = PAPER if point.weighed.candidate.flattered else color, MUTED if out else look(case).color
        x, y = point.place
        made = axis.scatter([x], [y], s=46, marker=look(case).marker, c=face, edgecolors=edge, zorder=3)
        marks.name(made, Mark(text, case.variant))
    axis.margins(x=0.16, y=0.14)


def _hover_text(point: Point, chosen: Choice, what: str) -> Sentence:
    """Return what a mark says on hover and focus."""
    each, (unit, factor) = point.weighed, chosen.loss_unit
    words = "{variant}: {time}, " + ("{other}" if what == SIZE else "loss {other} {unit} against {base}")
    return Sentence(
        words + ", ruled out by {by}" * (each.beaten_by is not None),
        variant=short(each.candidate.case),
        time=point.time,
        other=point.other.alone if what == SIZE else point.other.alone.scaled(factor),
        unit=unit,
        base=short(chosen.baseline.case),
        by=short(each.beaten_by.case) if each.beaten_by else None,
    )


def _data(points: Sequence[Point], chosen: Choice, what: str) -> pd.DataFrame:
    rows = [
        {
            "case_id": each.candidate.case.id,
            "variant": each.candidate.case.variant,
            "baseline_variant": chosen.baseline.case.variant,
            "metric": each.candidate.time.metric,
            **columns_of(time),
            "other_metric": each.candidate.of(what).metric,
            **columns_of(other, "other_value" if what == SIZE else "other_difference", "other_"),
            "saw_later_tokens": each.candidate.flattered,
            "ruled_out_by": None if each.beaten_by is None else each.beaten_by.case.variant,
        }
        for each, time, other in points
    ]
    return pd.DataFrame(rows)


READING = (
    "Each mark is a setting: further left it takes less time, further down it has a lower loss or needs less memory. A setting "
    "is ruled out, in grey, only if another is shown to be better in one of these and worse in none; where intervals overlap, "
    "both stay. The loss of a hollow mark is flattered, and rules nothing out. Whiskers are 95 % intervals; a dashed line joins "
    "the best estimates. `modbench recommend` picks one of them under limits that you name."
)

SECTION = Section(
    title="Which settings are worth considering?", order=32, span=12, render=render, draws=True, reading=READING
)
