"""Which setting to take: the best of those that fit the limits, its runner-up, and what would have to be measured to be sure.

Settings are ranked by their pairs: times that were measured side by side, losses of the same seeds. Where the best and its
runner-up are not told apart, that is the answer. A limit is held where the end of the interval holds it (*fits*). Where only
the estimate does, a setting *may fit*: it is taken if none fits, and that is said.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from modbench.harness.stats import verdicts
from modbench.reports.model import Finding
from modbench.reports.questions.recommend.candidates import SIZE, Candidate, Choice
from modbench.reports.questions.recommend.limits import (
    FITS,
    MAY,
    UNKNOWN,
    WORDS,
    LimitCheck,
    Limits,
    Need,
    check_limit,
    commands,
    doubted,
    lacking,
    loss_against,
)
from modbench.reports.questions.recommend.pairwise import against, effect_between
from modbench.reports.tables.load import Loaded, rung_beside
from modbench.reports.wording import name
from modbench.reports.writers.number_format import grid_point

OBJECTIVES = ("latency", "memory", "flops", "loss")
# Objectives that are counted, so that no pair is needed to order settings.
COUNTED = {SIZE, "flops"}
RECOMMENDED, EQUAL, NO_DIFFERENCE = "recommended", "equal", "no difference shown"
# Verdicts that tell two settings apart.
APART = {"better", "worse", "different"}


@dataclass(frozen=True)
class Judged:
    """A setting with how it holds every limit that was asked for."""

    candidate: Candidate
    kept: tuple[LimitCheck, ...]

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
        equal_cost: the same with the dense model of equal cost.
        loss: how its loss compares with that of the dense model of the same shape.
        runner_up_shape: how the runner-up compares in time with the dense model of the same shape.
        runner_up_loss: how its loss does.
        open: what is not sure, and what would decide it.
        commands: what measures that; a shell takes each as it is.
        incomplete: why the run lacks something; None: it lacks nothing.
    """

    choice: Choice
    objective: str
    limits: Limits
    judged: tuple[Judged, ...]
    best: Judged | None
    runner_up: Judged | None = None
    apart: Finding | None = None
    better: Judged | None = None
    nearest: Judged | None = None
    same_shape: Finding | None = None
    equal_cost: Finding | None = None
    loss: Finding | None = None
    runner_up_shape: Finding | None = None
    runner_up_loss: Finding | None = None
    open: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    incomplete: str | None = None
    not_considered: Mapping[str, str] = field(default_factory=dict)

    @property
    def answer(self) -> str:
        """`recommended`, `equal` or `no difference shown` (then the best two are the answer), or `none fits`."""
        if self.best is None:
            return "none fits"
        if self.runner_up is None or self.runner_up.word != self.best.word:
            return RECOMMENDED
        verdict = None if self.apart is None else self.apart.verdict
        if verdict in APART or (self.apart is None and self.objective in COUNTED):
            return RECOMMENDED
        return EQUAL if verdict == "equivalent" else NO_DIFFERENCE


def recommend(loaded: Loaded, chosen: Choice, limits: Limits, objective: str = "latency") -> Recommended:
    """Choose the best setting that fits.

    Args:
        loaded: the run.
        chosen: what there is to choose from.
        limits: what a setting must hold.
        objective: what is minimised.
    """
    known = [each for each in chosen.considered if each.of(objective).value is not None]

    def order(one: Candidate, other: Candidate) -> int:
        return _order(loaded, objective, one, other)

    ordered = sorted(known, key=functools.cmp_to_key(order))
    judged = tuple(
        Judged(
            each, tuple(check_limit(loaded, each, chosen.baseline, key, bound) for key, bound in limits.asked.items())
        )
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
        lacks = [(each.candidate, kept.need) for each in judged for kept in each.kept if kept.word == UNKNOWN]
        told, measured = _told(loaded, lacks)
        return Recommended(
            chosen, objective, limits, judged, None, nearest=nearest, open=told, commands=measured, **base
        )
    best, runner_up = pool[0], next(iter(pool[1:]), None)
    better = next((each for each in judged if each.word == MAY and judged.index(each) < judged.index(best)), None)
    apart = None if runner_up is None else _apart(loaded, best.candidate, runner_up.candidate, objective)
    rung = rung_beside(loaded, best.candidate.case)
    equal = None
    if rung is not None and (beside := _of_arm(chosen, rung[0].arm)) is not None:
        equal = against(loaded, best.candidate.case, beside.case, best.candidate.time.metric)
    second = None if runner_up is None else runner_up.candidate
    told, measured = _told(loaded, _needs(loaded, best, runner_up, better, apart, objective))
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
        None if second is None else against(loaded, second.case, chosen.baseline.case, second.time.metric),
        None if second is None else loss_against(loaded, second, chosen.baseline),
        told,
        measured,
        **base,
    )


def _order(loaded: Loaded, objective: str, one: Candidate, other: Candidate) -> int:
    """Return a number below 0 where the first is better: by their pair where there is one, else by their estimates."""
    effect = None
    if objective == "latency":
        effect = effect_between(loaded, one.case, other.case, one.time.metric)
    elif objective == "loss" and one.trained and other.trained and one.loss.metric == other.loss.metric:
        effect = effect_between(loaded, one.trained, other.trained, one.loss.metric)
    worse = (one.of(objective).value or 0.0) - (other.of(objective).value or 0.0) if effect is None else -effect.value
    return (worse > 0) - (worse < 0)


def _of_arm(chosen: Choice, arm: str) -> Candidate | None:
    return next((each for each in chosen.candidates if each.case.arm == arm), None)


def _apart(loaded: Loaded, one: Candidate, other: Candidate, objective: str) -> Finding | None:
    if objective == "loss":
        return loss_against(loaded, one, other)
    return against(loaded, one.case, other.case, one.of(objective).metric)


def _told(loaded: Loaded, needs: Iterable[tuple[Candidate, Need | None]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what is lacking in words, each once, and the commands that measure it."""
    known = [(each, need) for each, need in needs if need is not None]
    measured, why = commands(loaded, known)
    return tuple(dict.fromkeys([*(need.said for _, need in known), *why])), measured


def _needs(
    loaded: Loaded,
    best: Judged,
    runner_up: Judged | None,
    better: Judged | None,
    apart: Finding | None,
    objective: str,
) -> Iterator[tuple[Candidate, Need | None]]:
    """Yield what would have to be measured to be sure, and of which setting."""
    for each in (best, better) if better else (best,):
        for kept in each.kept:
            if kept.need is not None:
                yield each.candidate, replace(kept.need, said=f"{name(each.candidate.case)}: {kept.need.said}")
    if runner_up is not None and (need := _to_tell_apart(loaded, best, runner_up, apart, objective)):
        yield best.candidate, need
        yield runner_up.candidate, need
    if objective == "latency" and best.candidate.time.unsure is not None:
        yield best.candidate, doubted(best.candidate.time)
    for side in (best, runner_up) if runner_up else (best,):
        candidate, place = side.candidate, side.candidate.case.place
        if candidate.loss.value is None:
            yield candidate, lacking(candidate.loss)
        elif candidate.trained is not None and candidate.trained.place.seq_len != place.seq_len:
            trained = grid_point("T", candidate.trained.place.seq_len)
            said = f"losses at {grid_point('T', place.seq_len)}, since they were trained at {trained}"
            yield candidate, Need(said, candidate.loss.metric, seq_len=place.seq_len)


def _to_tell_apart(
    loaded: Loaded, best: Judged, runner_up: Judged, apart: Finding | None, objective: str
) -> Need | None:
    """Return what would tell the best from its runner-up in the objective; None where they are told apart, or equal."""
    decided = apart is not None and apart.verdict in {*APART, "equivalent"}
    if decided or objective in COUNTED:
        return None
    pair = f"{name(best.candidate.case)} from {name(runner_up.candidate.case)}"
    seeds = objective == "loss"
    what, metric = ("seeds", best.candidate.loss.metric) if seeds else ("launches", best.candidate.time.metric)

    def number(n: int, said: str) -> Need:
        return Need(said, metric, seeds=n) if seeds else Need(said, metric, launches=n)

    if apart is None:
        return Need(f"{objective} of both side by side, to tell {pair}", metric)
    one, other = (each.candidate.trained if seeds else each.candidate.case for each in (best, runner_up))
    effect = effect_between(loaded, one, other, apart.metric) if one and other else None
    if effect is None or effect.sd is None:
        return number(3, f"at least three {what}, to tell {pair}")
    needed = verdicts.launches_needed(effect, 0.0 if seeds else loaded.run.plan.suite.margin)
    if needed is None:
        return Need(f"more than {verdicts.MOST_LAUNCHES} {what} would be needed to tell {pair}")
    # Where as many were made, something else withholds the verdict: a disturbance, or the number of pairs, of which few are left.
    needed = max(needed, effect.n)
    return number(needed, f"{needed} {what}, to tell {pair}")
