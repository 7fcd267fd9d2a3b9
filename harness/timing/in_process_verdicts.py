"""Verdicts on callables that were timed side by side, by the statistics of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from modbench.harness.core.errors import unknown
from modbench.harness.core.labels import Label
from modbench.harness.stats import effects, one_process, paired, verdicts
from modbench.harness.stats.effects import Effect
from modbench.harness.stats.paired import LaunchSamples, Paired
from modbench.harness.timing.callables import Launch

# Differences below this are of no practical interest, unless a user says otherwise.
MARGIN = 0.02
ONE_PROCESS, UNSTEADY, DIFFERS = "one process", "not steady", "baseline differs from itself"


@dataclass(frozen=True)
class Judged:
    """One callable against the baseline.

    Attributes:
        name: of the callable.
        baseline: of what it is compared with.
        effect: log-ratio of a typical call, above 0 where the callable is faster; `reason` says what its interval lacks.
        mean_ratio: ratio of mean times, baseline over callable.
        disturbed: share of blocks in which a witness saw a disturbance.
        verdict: `better`, `worse`, `equivalent`, `different`, `inconclusive` or `contaminated`.
        reason: why it is undecided; None where it is not.
        labels: `one process`, `not steady`, `tail`, `clock was changed`, `contaminated`, `baseline differs from itself`.
    """

    name: str
    baseline: str
    effect: Effect
    mean_ratio: float
    disturbed: float
    verdict: str
    reason: str | None = None
    labels: tuple[str, ...] = ()

    @property
    def ratio(self) -> float:
        """Time of the baseline over the callable's: above 1 the callable is faster."""
        return math.exp(self.effect.value)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the ratio; None where there is none."""
        if self.effect.low is None or self.effect.high is None:
            return None
        return math.exp(self.effect.low), math.exp(self.effect.high)


def judge(launches: Sequence[Launch], *, baseline: str | None = None, margin: float = MARGIN) -> dict[str, Judged]:
    """Judge every callable but the baseline, the baseline's twin among them.

    With one launch the rounds are the evidence, and every result is labelled `one process`; from three on the launches are, as
    in a run. Where the twin differs from the baseline, nothing else is decided.

    Args:
        launches: one per process, of the same callables.
        baseline: what the others are compared with; None: the callable that was in every block.
        margin: of practical interest, as a share.

    Raises:
        UsageError: if there is no such baseline.
    """
    first = launches[0]
    base = first.baseline if baseline is None else baseline
    if base not in first.samples:
        raise unknown("baseline", base, first.samples)
    pairs = {name: _pair(launches, name, base) for name in first.samples if name != base}
    family = {i: pair.effect.p for i, (name, pair) in enumerate(pairs.items()) if name != first.twin}
    p_values = effects.adjusted({i: p for i, p in family.items() if p is not None})
    found = {
        name: _judged(launches, name, base, pair, margin, p_values.get(i))
        for i, (name, pair) in enumerate(pairs.items())
    }
    twin = found.get(first.twin or "")
    if twin is None or twin.verdict in {"equivalent", "inconclusive", "contaminated"}:
        return found
    why = f"{base} timed twice differs from itself: {twin.ratio:.3f}×"
    return {
        name: each
        if each is twin
        else replace(each, verdict="inconclusive", reason=why, labels=(*each.labels, DIFFERS))
        for name, each in found.items()
    }


def _pair(launches: Sequence[Launch], name: str, base: str) -> Paired:
    """A callable against the baseline, over launches; over the rounds of a single one."""
    samples = [
        LaunchSamples(
            each.samples[name] if name != each.baseline else None,
            each.samples[base] if base != each.baseline else None,
            each.samples[each.baseline],
            each.blocks,
        )
        for each in launches
    ]
    pair = paired.compare(samples, one_thread=all(each.one_thread for each in launches))
    if len(launches) > 1:
        return pair
    launch = effects.pair_in_launch(samples[0].case, samples[0].baseline, samples[0].anchor)
    assert launch is not None, "a callable and its anchor share every round"
    return replace(pair, effect=one_process.over_rounds([-value for value in launch.within]))


def _judged(
    launches: Sequence[Launch], name: str, base: str, pair: Paired, margin: float, adjusted_p: float | None
) -> Judged:
    labels = [ONE_PROCESS] if len(launches) == 1 else []
    assert pair.mean is not None
    assert pair.apart is not None
    mean = pair.mean if len(launches) > 1 else None
    word, _, _, tail = verdicts.judge(pair.effect, margin, adjusted_p, mean=mean, apart=pair.apart)
    labels += [Label.TAIL] if tail else []
    reason = None
    if word == "inconclusive":
        reason = _undecided(pair.effect, margin, len(launches))
    elif word == "different":
        reason = f"a difference, but whether by more than {margin:.0%} is open"
    if Label.TAIL in labels:
        ratios = f"{math.exp(pair.effect.value):.3g}× against {math.exp(pair.mean.value):.3g}×"
        reason = f"typical calls and the mean disagree: {ratios}"
    drifted = next((each.unsteady[arm] for each in launches for arm in (name, base) if arm in each.unsteady), None)
    if drifted:
        labels.append(UNSTEADY)
        reason = reason or drifted
    changed = next((each.clock_changed for each in launches if each.clock_changed), None)
    if changed:
        word, reason = "inconclusive", changed
        labels.append(Label.CLOCK_CHANGED)
    contaminated = pair.contaminated()
    if contaminated:
        word, reason = "contaminated", contaminated
        labels.append(Label.CONTAMINATED)
    mean_ratio = math.exp(pair.mean.value)
    return Judged(name, base, pair.effect, mean_ratio, pair.disturbed, word, reason, tuple(map(str, labels)))


def _undecided(effect: Effect, margin: float, launches: int) -> str:
    """Why a pair is inconclusive, and what would decide it."""
    if effect.low is None or effect.high is None:
        return effect.reason or "there is no interval"
    if not effect.low <= 0 <= effect.high:
        return "not significant among all that were compared"
    if launches == 1:
        return "more rounds may decide it"
    return verdicts.would_decide(effect, margin)
