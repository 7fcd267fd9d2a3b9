"""Verdicts on an effect: better, worse, equivalent, different, inconclusive, contaminated; by wall time or by CPU time.

Effects are on the log scale, oriented so that above 0 is better. Two questions are kept apart: is there a difference (the 95 %
interval, and its p-value among those of its family), and does it matter (the margin, 2 % unless the suite sets another).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from modbench.harness.stats import contamination
from modbench.harness.stats.effects import LEVEL, Effect
from modbench.harness.stats.reason import Reason

# Of CPU time that may or may not stand for the work: it decides nothing, but may contradict.
NOT_RECORDED = Reason("waits_not_recorded")


class Estimates(NamedTuple):
    """What one clock says of a pair, on the log scale, above 0 where the case is better.

    Attributes:
        typical: the effect on a typical call.
        mean: the effect on mean times; None where there is none.
        apart: mean minus typical effect.
        p: p-value of `typical` among all comparisons of its family; None: a family of one.
        mean_p: the same of `mean`.
    """

    typical: Effect
    mean: Effect | None = None
    apart: Effect | None = None
    p: float | None = None
    mean_p: float | None = None


class Disturbed(NamedTuple):
    """What is known of a pair whose blocks may have been disturbed.

    Attributes:
        share: of its blocks in which something was.
        clean: the typical effect from undisturbed samples alone; None where there are too few.
        cpu: what CPU time says; None where nothing.
        unfit: why no verdict may rest on CPU time; None where it may.
        least: the margin of a verdict by CPU time, where it must be larger than that by wall time.
        interleaved: whether the two were timed in the same blocks, so that a disturbance strikes both.
    """

    share: float
    clean: Effect | None = None
    cpu: Estimates | None = None
    unfit: Reason | None = None
    least: float | None = None
    interleaved: bool = True


class Judged(NamedTuple):
    """What is known of a pair.

    Attributes:
        word: the verdict.
        typical: the verdict on its typical calls.
        mean: the verdict on its mean times; None where there are none.
        tail: whether the two disagree.
        by_cpu: whether CPU time decided.
        reason: what the disturbance has to do with it: why the verdict is by CPU time, is *contaminated*, or was not reached.
        next_by_cpu: whether CPU time may decide with more launches, where neither clock does yet.
    """

    word: str
    typical: str
    mean: str | None = None
    tail: bool = False
    by_cpu: bool = False
    reason: Reason | None = None
    next_by_cpu: bool = False


DECIDED = frozenset({"better", "worse", "equivalent"})


def judge(wall: Estimates, margin: float, disturbed: Disturbed | None = None) -> Judged:
    """Judge a ratio of two arms: the only way to a verdict on one, in runs, between revisions and in one process.

    Wall time decides where it can. It cannot where over half of the blocks were disturbed and it tells nothing, or where
    undisturbed samples or CPU time have the opposite verdict, or *equivalent*: it is contaminated. Then CPU time is judged by the
    same rules, if it stands for what the arms take. Rounds of one process that were mostly disturbed depend on each other by what
    disturbed them: there one of the other two must say the same.

    Args:
        wall: by wall time.
        margin: of practical interest, as a share.
        disturbed: what may have disturbed it; None: nothing.
    """
    found = _by(wall, margin)
    if disturbed is None or not disturbed.share:
        return found
    busy = Reason("disturbed", share=disturbed.share)
    others = _others(margin, disturbed)
    contradicted = _contradicted(found.word, others)
    if disturbed.share > contamination.MOST and (wall.typical.low is None or not disturbed.interleaved):
        contradicted = busy
    usable = disturbed.cpu is not None and disturbed.unfit is None
    doubtful = disturbed.least is not None and usable and found.word not in {word for word, _ in others}
    if contradicted is None and disturbed.share <= contamination.MOST:
        return found
    if contradicted is None and found.word in DECIDED and not doubtful:
        return found
    by_cpu, why_not = _by_cpu(margin, disturbed)
    if by_cpu is not None and (by_cpu.word in DECIDED or found.word == "inconclusive"):
        return by_cpu._replace(by_cpu=True, reason=Reason("by_cpu", why=contradicted or busy))
    if contradicted is not None:
        return found._replace(word="contaminated", reason=Reason("both", one=contradicted, other=why_not))
    word = "inconclusive" if found.word in DECIDED else found.word
    return found._replace(word=word, reason=Reason("neither_clock", busy=busy, cpu=why_not), next_by_cpu=usable)


def _by(clock: Estimates, margin: float) -> Judged:
    """The verdict by one clock, whatever disturbed it."""
    own = verdict(clock.typical, margin, clock.p)
    if clock.mean is None or clock.apart is None:
        return Judged(own, own)
    of_mean = verdict(clock.mean, margin, clock.mean_p)
    word, tail = joint(own, of_mean, clock.apart, margin)
    return Judged(word, own, of_mean, tail)


def _by_cpu(margin: float, disturbed: Disturbed) -> tuple[Judged | None, Reason]:
    """The verdict by CPU time, None where it has none to give, and why it does not decide."""
    if disturbed.cpu is None or disturbed.unfit is not None:
        return None, Reason("cpu_does_not_count", why=disturbed.unfit or Reason("cpu_not_recorded"))
    least, ratio = max(margin, disturbed.least or 0.0), disturbed.cpu.typical.ratio
    found = _by(disturbed.cpu, least)
    if least > margin:
        decided = found.word in {"better", "worse"}
        return found if decided else None, Reason("cpu_undecided_beyond", ratio=ratio, least=least)
    return found if found.word != "inconclusive" else None, Reason("cpu_undecided", ratio=ratio)


def _others(margin: float, disturbed: Disturbed) -> list[tuple[str, Reason]]:
    """What undisturbed samples and CPU time say: their verdict, and how they contradict another one."""
    found = []
    if disturbed.clean is not None:
        found.append((verdict(disturbed.clean, margin), Reason("undisturbed_contradict", ratio=disturbed.clean.ratio)))
    if disturbed.cpu is not None and disturbed.unfit in {None, NOT_RECORDED}:
        found.append((_by(disturbed.cpu, margin).word, Reason("cpu_contradicts", ratio=disturbed.cpu.typical.ratio)))
    return found


def _contradicted(word: str, others: Sequence[tuple[str, Reason]]) -> Reason | None:
    """Which other estimate has the opposite verdict, or *equivalent*; one that is undecided says nothing against it."""
    return next((how for other, how in others if word in DECIDED and other in DECIDED - {word}), None)


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


def joint(typical: str, mean: str, apart: Effect, margin: float) -> tuple[str, bool]:
    """The verdict on typical calls and mean times together, and whether the two disagree.

    `better`, `worse` and `equivalent` stand only where both say so. The two disagree where the interval of their difference
    excludes zero, the difference is above the margin, and their verdicts are not the same.

    Args:
        typical: the verdict on the typical effect.
        mean: the verdict on the mean effect.
        apart: mean minus typical effect.
        margin: of practical interest, as a share.
    """
    if typical == mean:
        return typical, False
    if apart.excludes_0 and abs(apart.value) > math.log1p(margin):
        return "different", True
    undecided = typical == "inconclusive" or {typical, mean} == {"equivalent", "inconclusive"}
    return ("inconclusive" if undecided else "different"), False


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
