"""Which settings are worth considering: the Pareto set over time, memory and loss, as far as the evidence goes.

A setting is ruled out only where another is shown to be no worse on every axis and better on one. Where that is open, both stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from modbench.harness.stats.verdicts import exact_verdict
from modbench.reports.questions.recommend.candidates import SIZE, Candidate, Choice
from modbench.reports.questions.recommend.limits import loss_against
from modbench.reports.questions.recommend.pairwise import against, has_tail
from modbench.reports.tables.load import Loaded

BETTER, NOT_WORSE, OPEN = "better", "not worse", "open"
AXES = ("latency", "memory", "loss")


@dataclass(frozen=True)
class Weighed:
    """A setting among the others.

    Attributes:
        candidate: the setting.
        beaten_by: the setting that is shown to be better on one axis and no worse on the others; None: it stays.
        better_in: the axes on which that one is better.
        front: whether no other setting is better by the estimates alone, over all axes.
    """

    candidate: Candidate
    beaten_by: Candidate | None
    better_in: tuple[str, ...]
    front: bool


def pareto(
    loaded: Loaded, chosen: Choice, among: Sequence[Candidate] | None = None
) -> tuple[tuple[str, ...], list[Weighed]]:
    """Return the axes that were measured, and the settings that have a value on each.

    Args:
        loaded: the run.
        chosen: the place.
        among: the settings to weigh; None: all that are considered there.
    """
    every = list(chosen.considered if among is None else among)
    axes = tuple(axis for axis in AXES if sum(each.of(axis).value is not None for each in every) > 1)
    known = [each for each in every if all(each.of(axis).value is not None for axis in axes)] if axes else []
    beats = {
        i: [
            (j, better) for j, other in enumerate(known) if i != j and (better := _better_in(loaded, each, other, axes))
        ]
        for i, each in enumerate(known)
    }
    reached = {i: _reached(i, beats) for i in beats}
    # Equal within a margin is not passed on: settings that beat each other in a circle all stay.
    over = {
        i: [(j, better) for j, found in beats.items() for k, better in found if k == i and j not in reached[i]]
        for i in beats
    }
    weighed = []
    for i, each in enumerate(known):
        # Whoever stays itself is the better reason.
        by = min(over[i], key=lambda found: bool(over[found[0]]), default=None)
        front = not any(_ahead(other, each, axes) for other in known if other is not each)
        weighed.append(Weighed(each, None if by is None else known[by[0]], () if by is None else by[1], front))
    return axes, weighed


def _reached(start: int, beats: Mapping[int, Sequence[tuple[int, tuple[str, ...]]]]) -> set[int]:
    """Return all settings that one beats, directly or through others."""
    found, left = set[int](), [start]
    while left:
        for j, _ in beats[left.pop()]:
            if j not in found:
                found.add(j)
                left.append(j)
    return found


def _ahead(one: Candidate, other: Candidate, axes: Sequence[str]) -> bool:
    """Whether the estimates of one are as good on every axis and better on one."""
    pairs = [(one.of(axis).value or 0.0, other.of(axis).value or 0.0) for axis in axes]
    return all(mine <= theirs for mine, theirs in pairs) and any(mine < theirs for mine, theirs in pairs)


def _better_in(loaded: Loaded, one: Candidate, other: Candidate, axes: Sequence[str]) -> tuple[str, ...]:
    """Return the axes on which one is shown to be better than the other, if it is shown to be no worse on the rest; else none."""
    margin = 1 + loaded.run.plan.suite.margin
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
    found = against(loaded, one.case, other.case, one.time.metric)
    if found is None or found.typical.kind != "ratio" or found.typical.value is None:
        return OPEN
    if found.verdict == "different" and not has_tail(found) and found.typical.value > 1:
        return NOT_WORSE
    return {"better": BETTER, "equivalent": NOT_WORSE}.get(found.verdict or "", OPEN)


def _in_memory(loaded: Loaded, one: Candidate, other: Candidate) -> str:
    mine, theirs = one.memory, other.memory
    if mine.metric != theirs.metric or not mine.value or not theirs.value:
        return OPEN
    word = exact_verdict(theirs.value / mine.value, loaded.run.plan.suite.margin)
    return {"better": BETTER, "equivalent": NOT_WORSE}.get(word, OPEN)


def _in_loss(loaded: Loaded, one: Candidate, other: Candidate) -> str:
    found = loss_against(loaded, one, other)
    return BETTER if found is not None and found.verdict == "better" and not found.saw_future else OPEN


VERSUS: dict[str, Callable[[Loaded, Candidate, Candidate], str]] = {
    "latency": _in_time,
    "memory": _in_memory,
    "loss": _in_loss,
}
