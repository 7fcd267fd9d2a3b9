"""Verdicts on an effect: better, worse, equivalent, different, inconclusive; by wall time or by CPU time.

Effects are on the log scale, oriented so that above 0 is better. Two questions are kept apart: is there a difference (the 95 %
interval, and its p-value among those of its family), and does it matter (the margin, 2 % unless the suite sets another).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from modbench.harness.stats import contamination
from modbench.harness.stats.effects import LEVEL, Effect
from modbench.harness.stats.reason import Reason, both

# Whether CPU time stands for the work is not known: it decides nothing, but may contradict.
NOT_RECORDED = Reason("waits_not_recorded")


class Estimates(NamedTuple):
    """What one clock says of a pair, on the log scale, above 0 where the case is better.

    Attributes:
        effect: by the estimand of the metric: medians or means. The verdict is on it.
        other: by the other one; None where there is none.
        apart: other minus effect.
        p: p-value of `effect` among all comparisons of its family; None: a family of one.
    """

    effect: Effect
    other: Effect | None = None
    apart: Effect | None = None
    p: float | None = None


class Disturbed(NamedTuple):
    """What else is known of a pair of times, which something may have disturbed.

    Attributes:
        share: of its blocks in which something was.
        cpu: what CPU time says; None where nothing.
        gap: the effect by wall time minus that by CPU time; None where nothing is known by CPU time.
        unfit: why no verdict may rest on CPU time; None where it may.
        least: the margin of a verdict by CPU time, where it must be larger than that by wall time.
    """

    share: float
    cpu: Estimates | None = None
    gap: Effect | None = None
    unfit: Reason | None = None
    least: float | None = None


class Clock(NamedTuple):
    """The clock that decides.

    Attributes:
        by_cpu: whether that is CPU time.
        noisy: whether no clock can decide.
        reason: why it is not wall time; None where it is.
    """

    by_cpu: bool = False
    noisy: bool = False
    reason: Reason | None = None


class Judged(NamedTuple):
    """What is known of a pair.

    Attributes:
        word: the verdict.
        tail: whether the two estimands disagree.
        by_cpu: whether it is by CPU time.
        noisy: whether the disturbance leaves no clock to decide by.
        reason: why the verdict is by CPU time, or by no clock.
    """

    word: str
    tail: bool = False
    by_cpu: bool = False
    noisy: bool = False
    reason: Reason | None = None


def judge(wall: Estimates, margin: float, disturbed: Disturbed | None = None) -> Judged:
    """Judge a ratio of two arms: the only way to a verdict on one, in runs, between revisions and in one process.

    Args:
        wall: by wall time.
        margin: of practical interest, as a share.
        disturbed: what may have disturbed it; None: nothing can, or the two are no times.
    """
    by_cpu, noisy, reason = clock(margin, disturbed)
    if noisy:
        return Judged("inconclusive", noisy=True, reason=reason)
    if not by_cpu:
        return _by(wall, margin)
    assert disturbed is not None
    assert disturbed.cpu is not None
    least = max(margin, disturbed.least or 0.0)
    found = _by(disturbed.cpu, least)
    if least > margin and found.word not in {"better", "worse"}:
        undecided = Reason("cpu_undecided_beyond", ratio=disturbed.cpu.effect.ratio, least=least)
        return Judged("inconclusive", by_cpu=True, reason=both(reason, undecided))
    return found._replace(by_cpu=True, reason=reason)


def clock(margin: float, disturbed: Disturbed | None) -> Clock:
    """Choose the clock, before any verdict is known.

    Wall time decides where CPU time agrees with it (`_agree`). Where it does not, something besides the work moved wall time, and
    CPU time decides, if it stands for the work. If it does not stand for the work, there is no second clock: wall time decides
    unless over half of the blocks were disturbed. Where it is not known whether it does, nothing decides.
    """
    if disturbed is None:
        return Clock()
    cpu, gap, unfit = disturbed.cpu, disturbed.gap, disturbed.unfit
    stands = cpu is not None and unfit is None
    if cpu is not None and gap is not None and gap.low is not None:
        if _agree(gap, margin, at_zero=stands and (disturbed.least or 0.0) <= margin):
            return Clock()
        differ = Reason("clocks_differ", gap=gap.ratio)
        if stands:
            return Clock(by_cpu=True, reason=Reason("by_cpu", why=differ))
        if unfit == NOT_RECORDED:
            return Clock(noisy=True, reason=both(differ, Reason("cpu_does_not_count", why=unfit)))
    if disturbed.share <= contamination.MOST:
        return Clock()
    why = Reason("cpu_does_not_count", why=unfit or Reason("cpu_not_recorded"))
    return Clock(noisy=True, reason=both(Reason("disturbed", share=disturbed.share), why))


# Clocks agree if the 95 % interval of their gap lies inside the first share of the margin; and if it holds 0, or lies inside the
# second one. A gap that is shown moves wall time: at the margin's edge, it would make *worse* of an effect that is not.
CLOSE, TINY = 1 / 2, 1 / 10


def _agree(gap: Effect, margin: float, *, at_zero: bool) -> bool:
    """Whether the two clocks agree; without `at_zero`, where CPU time could not decide instead, a shown gap may be larger."""
    if gap.low is None or gap.high is None:
        return False
    widest, edge = max(-gap.low, gap.high), math.log1p(margin)
    return widest < CLOSE * edge and (not at_zero or not gap.excludes_0 or widest < TINY * edge)


def _by(clock: Estimates, margin: float) -> Judged:
    """The verdict by one clock, whatever disturbed it; `tail` where the other estimand differs by more than the margin."""
    word = verdict(clock.effect, margin, clock.p)
    if clock.other is None or clock.apart is None:
        return Judged(word)
    apart = clock.apart.excludes_0 and abs(clock.apart.value) > math.log1p(margin)
    return Judged(word, tail=apart and verdict(clock.other, margin) != verdict(clock.effect, margin))


def verdict(effect: Effect, margin: float, adjusted_p: float | None = None) -> str:
    """The verdict on a ratio.

    `better` and `worse`: the 95 % interval lies outside the margin. `equivalent`: the 90 % interval lies inside it (two
    one-sided tests). `different`: the interval excludes no change, whether by more than the margin is open. `inconclusive`:
    none of these, or a difference that is not significant after Holm's adjustment in its family.

    Args:
        effect: the log-ratio.
        margin: of practical interest, as a share.
        adjusted_p: p-value among all comparisons of its family; None: a family of one.
    """
    if effect.low is None or effect.high is None or effect.p is None:  # no interval, or one within a single launch
        return "inconclusive"
    edge = math.log1p(margin)
    if effect.low90 is not None and effect.high90 is not None and -edge < effect.low90 and effect.high90 < edge:
        return "equivalent"
    if adjusted_p is not None and adjusted_p > 1 - LEVEL:
        return "inconclusive"
    if effect.low > edge:
        return "better"
    if effect.high < -edge:
        return "worse"
    return "different" if effect.low > 0 or effect.high < 0 else "inconclusive"


def loss_verdict(effect: Effect, adjusted_p: float | None = None) -> str | None:
    """The verdict on a difference of losses (lower is better); None where there is no interval."""
    if effect.low is None or effect.high is None:
        return None
    if adjusted_p is not None and adjusted_p > 1 - LEVEL:
        return "inconclusive"
    if effect.high < 0:
        return "better"
    return "worse" if effect.low > 0 else "inconclusive"


def difference_verdict(effect: Effect, better: str, adjusted_p: float | None = None) -> str | None:
    """The verdict on a difference of values that have no ratio; None where neither direction is better."""
    if better == "neither":
        return None
    return loss_verdict(effect if better == "lower" else effect.mirrored(), adjusted_p)


def exact_verdict(ratio: float, margin: float) -> str:
    """The verdict on a ratio that was counted, not sampled."""
    if ratio > 1 + margin:
        return "better"
    return "worse" if ratio < 1 / (1 + margin) else "equivalent"
