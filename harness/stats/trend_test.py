"""Test whether the warm-up was long enough: no arm may still be getting faster or slower relative to its anchor.

The paired effect is tested, not the time itself: a clock that drifts slows all arms alike, which is unrelated to warm-up and
cancels in every ratio. Inside one launch (`unsteady`, which asks for a second warm-up): Theil-Sen slope and Mann-Kendall test,
Kendall's tau against time. For a report (`drifting`): the same test stratified by launch, as for seasons (Hirsch & Slack 1984):
Kendall's S is summed over launches and the drift is their mean, so that one launch that drifts by chance decides nothing. All
arms of a comparison are one family: the level is divided by their number. No scipy: a cold worker would have to load it.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import TYPE_CHECKING, NamedTuple

from modbench.harness.stats.reason import Reason

if TYPE_CHECKING:
    import numpy as np

# From the first block to the last; both must be exceeded.
DRIFT = 0.01
LEVEL = 0.01
# Pairs of blocks up to which the distribution of S is computed exactly; above it is normal.
MOST_EXACT = 5000


def testable(blocks: Sequence[int], arms: int) -> bool:
    """Whether the test can reject at all, with so many blocks in each launch and so many arms."""
    return math.log(2) - sum(math.lgamma(n + 1) for n in blocks) < math.log(LEVEL / max(1, arms))


class Drift(NamedTuple):
    """How an arm drifted in a launch.

    Attributes:
        change: from the first block to the last, as a share.
        blocks: how many there were.
        p: of no drift (Mann-Kendall).
    """

    change: float
    blocks: int
    p: float


def unsteady(arms: Mapping[str, Sequence[float]]) -> dict[str, Drift]:
    """Find the arms that drift in one launch.

    Args:
        arms: each arm's block effects, in order.
    """
    found = {}
    for arm, effects in arms.items():
        if not testable([len(effects)], len(arms)):
            continue
        drift, p = pooled([effects])
        if abs(drift) > DRIFT and p < LEVEL / len(arms):
            found[arm] = Drift(drift, len(effects), p)
    return found


def drifting(launches: Sequence[Sequence[float]], arms: int) -> Reason | None:
    """Return how an arm drifts, over its launches pooled; None if it does not, or there are too few blocks to tell.

    Args:
        launches: the arm's block effects in each launch, in order.
        arms: arms of the comparison besides the anchor.
    """
    launches = [effects for effects in launches if len(effects) > 1]
    if not launches or not testable([len(effects) for effects in launches], arms):
        return None
    drift, p = pooled(launches)
    if abs(drift) <= DRIFT or p >= LEVEL / max(1, arms):
        return None
    return Reason("drifts", change=drift, launches=len(launches), p=p)


def pooled(launches: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Mean drift of log-effects from the first block of a launch to its last, and the p-value of the summed S."""
    score, drifts = 0, []
    for effects in launches:
        slopes = [(b - a) / (j - i) for (i, a), (j, b) in itertools.combinations(enumerate(effects), 2)]
        score += len([each for each in slopes if each > 0]) - len([each for each in slopes if each < 0])
        drifts.append(median(slopes) * (len(effects) - 1))
    return fmean(drifts), _p_value(abs(score), tuple(sorted(map(len, launches))))


@functools.lru_cache(maxsize=256)
def _p_value(score: int, blocks: tuple[int, ...]) -> float:
    """Two-sided p-value of a sum of Kendall's S over launches with so many blocks, none of which drifts."""
    pairs = sum(n * (n - 1) // 2 for n in blocks)
    if score == 0:
        return 1.0
    if pairs > MOST_EXACT:
        variance = sum(n * (n - 1) * (2 * n + 5) / 18 for n in blocks)
        return math.erfc((score - 1) / math.sqrt(2 * variance))
    # S is the number of pairs minus twice that of inversions, whose distribution is a sum of uniform ones.
    return float(min(1.0, 2 * _inversions(blocks)[: (pairs - score) // 2 + 1].sum()))


@functools.lru_cache(maxsize=64)
def _inversions(blocks: tuple[int, ...]) -> np.ndarray:
    """Probability of each number of inversions in random orders of so many blocks each."""
    import numpy as np

    found = np.ones(1)
    for n in blocks:
        for k in range(2, n + 1):
            found = np.convolve(found, np.full(k, 1 / k))
    return found
