"""Verdicts on an effect: better, worse, equivalent, different, inconclusive, contaminated; and launches that would decide.

Effects are on the log scale, oriented so that above 0 is better. Two questions are kept apart: is there a difference (the 95 %
interval, and its p-value among those of its family), and does it matter (the margin, 2 % unless the suite sets another).
"""

from __future__ import annotations

import bisect
import math
from typing import NamedTuple

from modbench.harness.stats import contamination
from modbench.harness.stats.effects import LEVEL, Effect, t_quantile

MOST_LAUNCHES = 1000


class Judged(NamedTuple):
    """What is known of a pair.

    Attributes:
        word: the verdict.
        typical: the verdict on its typical calls.
        mean: the verdict on its mean times; None where there are none.
        tail: whether the two disagree.
    """

    word: str
    typical: str
    mean: str | None = None
    tail: bool = False


def judge(
    typical: Effect,
    margin: float,
    adjusted_p: float | None = None,
    *,
    mean: Effect | None = None,
    apart: Effect | None = None,
    mean_p: float | None = None,
) -> Judged:
    """Judge a ratio of two arms: the only way to a verdict on one, in runs, between revisions and in one process.

    Args:
        typical: the log-ratio of typical calls.
        margin: of practical interest, as a share.
        adjusted_p: p-value of `typical` among all comparisons of its family; None: a family of one.
        mean: the log-ratio of mean times; None where there is none.
        apart: mean minus typical effect.
        mean_p: as `adjusted_p`, of `mean`.
    """
    own = verdict(typical, margin, adjusted_p)
    if mean is None or apart is None:
        return Judged(own, own)
    of_mean = verdict(mean, margin, mean_p)
    word, tail = joint(own, of_mean, apart, margin)
    return Judged(word, own, of_mean, tail)


def would_decide(effect: Effect, margin: float, what: str = "it") -> str:
    """How many launches would decide an inconclusive comparison, in words."""
    needed = launches_needed(effect, margin)
    if needed is None:
        return f"not even {MOST_LAUNCHES} launches would decide {what}"
    return f"{needed} launches would decide {what}"


def verdict(effect: Effect, margin: float, adjusted_p: float | None = None) -> str:
    """The verdict on a ratio.

    `better` and `worse`: the 95 % interval lies outside the margin. `equivalent`: the 90 % interval lies inside it (two
    one-sided tests). `different`: the interval excludes no change, whether by more than the margin is open. `inconclusive`:
    none of these, or a difference that is not significant after Benjamini-Hochberg over its family.

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
    resolved = apart.low is not None and apart.high is not None and not apart.low <= 0 <= apart.high
    if resolved and abs(apart.value) > math.log1p(margin):
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


def launches_needed(effect: Effect, margin: float) -> int | None:
    """Launches that would decide an inconclusive comparison, if effect and spread are as estimated; None: over 1,000.

    It is decided by an interval that excludes no change, or by one inside the margin, whichever needs fewer.
    """
    if effect.sd is None:
        return 3
    away, inside = abs(effect.value), math.log1p(margin) - abs(effect.value)
    options = [_fewest(effect.sd, away, 0.975)]
    if inside > 0:
        options.append(_fewest(effect.sd, inside, 0.95))
    found = [n for n in options if n is not None]
    return min(found) if found else None


def _fewest(sd: float, half_width: float, share: float) -> int | None:
    """Fewest launches whose t-interval has a smaller half-width than this."""

    def narrow(n: int) -> bool:
        return t_quantile(share, n) * sd / math.sqrt(n) < half_width

    if half_width <= 0:
        return None
    numbers = range(3, MOST_LAUNCHES + 1)
    place = bisect.bisect_left(numbers, True, key=narrow)  # the first that is narrow: all after it are
    return numbers[place] if place < len(numbers) else None


def contaminated(effect: Effect, clean: Effect | None, share: float) -> str | None:
    """Why wall time supports no claim, or None: what disturbed the samples made the result, or may have made it.

    Disturbance that strikes all arms alike widens the interval and moves nothing: it is no reason to claim nothing.

    Args:
        effect: from all samples.
        clean: from undisturbed samples alone; None where there are too few.
        share: of blocks in which something was disturbed.
    """
    if not share:
        return None
    if clean is None:
        return (
            f"{share:.0%} of the blocks were disturbed, and the undisturbed samples are too few to confirm the result"
        )
    if effect.low is None or effect.high is None:
        few = f"{share:.0%} of the blocks were disturbed, and there is no interval to hold the undisturbed ones against"
        return few if share > contamination.MOST else None
    if effect.low <= clean.value <= effect.high:
        return None
    return (
        f"undisturbed samples alone give {math.exp(clean.value):.3f}×, outside the interval of all samples: "
        "the disturbance made the result"
    )
