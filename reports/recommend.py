"""Which setting to take: the best of those that fit the limits, its runner-up, and what would have to be measured to be sure.

A limit is held where the end of the interval holds it (*fits*). Where only the estimate does, a setting *may fit*: it is taken if
none fits, and that is said. The words are in `recommend_words.py`, the settings in `candidates.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modbench.harness.stats import verdicts
from modbench.reports.against import Against, against, effect_between
from modbench.reports.candidates import SIZE, Candidate, Choice
from modbench.reports.limits import FITS, MAY, UNKNOWN, WORDS, Kept, Limits, hold, loss_against
from modbench.reports.load import Loaded
from modbench.reports.panel import rung_beside
from modbench.reports.style import name

OBJECTIVES = ("latency", "memory", "flops", "loss")


@dataclass(frozen=True)
class Judged:
    """A setting with how it holds every limit that was asked for."""

    candidate: Candidate
    kept: tuple[Kept, ...]

    @property
    def word(self) -> str:
        """The worst of its limits; `fits` where none was asked for."""
        return max((each.word for each in self.kept), key=WORDS.index, default=FITS)

    @property
    def excess(self) -> float:
        """The largest excess over a limit; infinite where one is not known."""
        return max((math.inf if each.excess is None else each.excess for each in self.kept), default=0.0)


@dataclass(frozen=True)
class Recommended:
    """An answer.

    Attributes:
        choice: what there was to choose from.
        objective: what is minimised.
        limits: what was asked.
        judged: the settings that are considered, the best of the objective first.
        best: the recommended setting; None where none fits.
        runner_up: the next.
        apart: how the best compares with it in the objective.
        better: a setting that only may fit and would be better.
        nearest: where none fits, the setting that comes nearest.
        same_shape: how the best compares in time with the dense model of the same shape.
        equal_cost: the same with the dense model of equal cost, and its name.
        loss: how its loss compares with that of the dense model of the same shape.
        needs: what would have to be measured to be sure.
        incomplete: why the run lacks something; None: it lacks nothing.
    """

    choice: Choice
    objective: str
    limits: Limits
    judged: tuple[Judged, ...]
    best: Judged | None
    runner_up: Judged | None = None
    apart: Against | None = None
    better: Judged | None = None
    nearest: Judged | None = None
    same_shape: Against | None = None
    equal_cost: tuple[str, Against] | None = None
    loss: Against | None = None
    needs: tuple[str, ...] = ()
    incomplete: str | None = None
    not_considered: Mapping[str, str] = field(default_factory=dict)


def recommend(loaded: Loaded, chosen: Choice, limits: Limits, objective: str = "latency") -> Recommended:
    """Choose the best setting that fits.

    Args:
        loaded: the run.
        chosen: what there is to choose from.
        limits: what a setting must hold.
        objective: what is minimised.
    """
    known = [each for each in chosen.considered if each.of(objective).value is not None]
    ordered = sorted(known, key=lambda each: each.of(objective).value or 0.0)
    judged = tuple(
        Judged(each, tuple(hold(loaded, each, chosen.baseline, key, bound) for key, bound in limits.asked.items()))
        for each in ordered
    )
    out = {name(each.case): each.out for each in chosen.candidates if each.out is not None}
    out |= {name(each.case): str(each.of(objective).reason) for each in chosen.considered if each not in known}
    pool = [each for word in (FITS, MAY) for each in judged if each.word == word]
    base: dict[str, Any] = {"not_considered": out, "incomplete": loaded.run.incomplete}
    if not pool:
        nearest = min(
            (each for each in judged if math.isfinite(each.excess)), key=lambda each: each.excess, default=None
        )
        needs = _of_limits(judged)
        return Recommended(chosen, objective, limits, judged, None, nearest=nearest, needs=needs, **base)
    best, runner_up = pool[0], next(iter(pool[1:]), None)
    better = next((each for each in judged if each.word == MAY and judged.index(each) < judged.index(best)), None)
    apart = None if runner_up is None else _apart(loaded, best.candidate, runner_up.candidate, objective)
    rung = rung_beside(loaded, best.candidate.case)
    equal = None
    if rung is not None and (beside := _of_arm(chosen, rung[0].arm)) is not None:
        found = against(loaded, best.candidate.case, beside.case, best.candidate.time.metric)
        equal = None if found is None else (name(beside.case), found)
    needs = _needs(loaded, best, runner_up, better, apart, objective)
    return Recommended(
        chosen,
        objective,
        limits,
        judged,
        best,
        runner_up,
        apart,
        better,
        None,
        against(loaded, best.candidate.case, chosen.baseline.case, best.candidate.time.metric),
        equal,
        loss_against(loaded, best.candidate, chosen.baseline),
        needs,
        **base,
    )


def _of_arm(chosen: Choice, arm: str) -> Candidate | None:
    return next((each for each in chosen.candidates if each.case.arm == arm), None)


def _apart(loaded: Loaded, one: Candidate, other: Candidate, objective: str) -> Against | None:
    if objective == "loss":
        return loss_against(loaded, one, other)
    return against(loaded, one.case, other.case, one.of(objective).metric)


def _of_limits(judged: Sequence[Judged]) -> tuple[str, ...]:
    """Return what is lacking where no setting is known to fit: each once."""
    return tuple(
        dict.fromkeys(kept.need for each in judged for kept in each.kept if kept.word == UNKNOWN and kept.need)
    )


def _needs(
    loaded: Loaded,
    best: Judged,
    runner_up: Judged | None,
    better: Judged | None,
    apart: Against | None,
    objective: str,
) -> tuple[str, ...]:
    """Return what would have to be measured to be sure."""
    said = [
        f"{name(each.candidate.case)}: {kept.need}"
        for each in (best, better)
        if each
        for kept in each.kept
        if kept.need
    ]
    if runner_up is not None:
        said += filter(None, [_to_tell_apart(loaded, best, runner_up, apart, objective)])
    time = best.candidate.time
    if objective == "latency" and time.unsure is not None:
        said.append(time.unsure)
    place, trained = best.candidate.case.place, best.candidate.trained
    if trained is not None and trained.place.seq_len != place.seq_len:
        said.append(
            f"its loss at T = {place.seq_len:,}, since it was trained at T = {trained.place.seq_len:,}: "
            f"--set train.seq_len={place.seq_len}"
        )
    return tuple(dict.fromkeys(said))


def _to_tell_apart(
    loaded: Loaded, best: Judged, runner_up: Judged, apart: Against | None, objective: str
) -> str | None:
    """Return what would tell the best from its runner-up in the objective; None where they are told apart, or equal."""
    decided = apart is not None and apart.verdict in {"better", "worse", "equivalent", "different"}
    if decided or objective in {SIZE, "flops"}:
        return None
    pair = f"{name(best.candidate.case)} from {name(runner_up.candidate.case)}"
    if apart is None:
        return f"{objective} of both side by side, to tell {pair}"
    seeds = objective == "loss"
    what, margin = ("seeds", 0.0) if seeds else ("launches", loaded.run.plan.suite.margin)
    one, other = (each.candidate.trained if seeds else each.candidate.case for each in (best, runner_up))
    effect = effect_between(loaded, one, other, apart.metric) if one and other else None
    if effect is None or effect.sd is None:
        return f"at least three {what}, to tell {pair}"
    needed = verdicts.launches_needed(effect, margin)
    if needed is None:
        return f"more than {verdicts.MOST_LAUNCHES} {what} would be needed to tell {pair}"
    # Where as many were made, something else withholds the verdict, which is said.
    return f"{needed} {what}, to tell {pair}" if needed > effect.n else None
