"""Test whether the warm-up was long enough: no variant may still be getting faster or slower relative to its baseline.

The paired effect is tested, not the time itself: a clock that drifts slows all variants alike, which is unrelated to warm-up and
cancels in every ratio. Inside one process (`unsteady`, which asks for a second warm-up): Theil-Sen slope and Mann-Kendall test,
Kendall's tau against time. For a report (`drifting`): the same test stratified by process, as for seasons (Hirsch & Slack 1984):
Kendall's S is summed over processes and the drift is their mean, so that one process that drifts by chance decides nothing. All
variants of a comparison are one family: the level is divided by their number. No scipy: a cold worker would have to load it.
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


def testable(blocks: Sequence[int], variants: int) -> bool:
    """Whether the test can reject at all, with so many blocks in each process and so many variants."""
    return math.log(2) - sum(math.lgamma(n + 1) for n in blocks) < math.log(LEVEL / max(1, variants))


class Drift(NamedTuple):
    """How a variant drifted in a process.

    Attributes:
        change: from the first block to the last, as a share.
        blocks: how many there were.
        p: of no drift (Mann-Kendall).
    """

    change: float
    blocks: int
    p: float


def unsteady(variants: Mapping[str, Sequence[float]]) -> dict[str, Drift]:
    """Find the variants that drift in one process.

    Args:
        variants: each variant's block effects, in order.
    """
    found = {}
    for variant, effects in variants.items():
        if not testable([len(effects)], len(variants)):
            continue
        drift, p = pooled([effects])
        if abs(drift) > DRIFT and p < LEVEL / len(variants):
            found[variant] = Drift(drift, len(effects), p)
    return found


def drifting(processes: Sequence[Sequence[float]], variants: int) -> Reason | None:
    """Return how a variant drifts, over its processes pooled; None if it does not, or there are too few blocks to tell.

    Args:
        processes: the variant's block effects in each process, in order.
        variants: variants of the comparison besides the baseline.
    """
    processes = [effects for effects in processes if len(effects) > 1]
    if not processes or not testable([len(effects) for effects in processes], variants):
        return None
    drift, p = pooled(processes)
    if abs(drift) <= DRIFT or p >= LEVEL / max(1, variants):
        return None
    return Reason("drifts", change=drift, processes=len(processes), p=p)


def pooled(processes: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Mean drift of log-effects from the first block of a process to its last, and the p-value of the summed S."""
    score, drifts = 0, []
    for effects in processes:
        slopes = [(b - a) / (j - i) for (i, a), (j, b) in itertools.combinations(enumerate(effects), 2)]
        score += len([each for each in slopes if each > 0]) - len([each for each in slopes if each < 0])
        drifts.append(median(slopes) * (len(effects) - 1))
    return fmean(drifts), _p_value(abs(score), tuple(sorted(map(len, processes))))


@functools.lru_cache(maxsize=256)
def _p_value(score: int, blocks: tuple[int, ...]) -> float:
    """Two-sided p-value of a sum of Kendall's S over processes with so many blocks, none of which drifts."""
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
