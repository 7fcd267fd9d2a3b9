"""Exact comparison of two counts: so many of these seeds solved a task, so many of those.

The test is the unconditional score test (Barnard's idea with the pooled score as statistic; Suissa and Shuster 1985): its p-value
is the largest over all common rates of success. The interval inverts the same test (Agresti and Min 2001), so that it excludes no
difference where p is at most 5 %. Both treat the seeds of the two variants as independent: pairs that succeed and fail
together only make it stricter. `benchmarks/data/tests_of_counts.csv` compares it with the tests of Fisher, Boschloo and McNemar.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from scipy import special

from modbench.extend import LEVEL, ONE, POWER, Analysis, Effect, smallest

Floats = NDArray[np.float64]
# Common rates at which the error is looked at: evenly spaced in units of the binomial's deviation.
RATES = 257
# Statistics closer than this are ties.
DIGITS = 9
# Steps of a bisection for an end of the interval: to 1e-5.
HALVINGS = 18
FEWEST_SEEDS, MOST_SEEDS = 2, 100


def _pmf(n: int, rates_P: Floats) -> Floats:
    """[P, n + 1]: probabilities of 0 to n successes at each rate."""
    k = np.arange(n + 1)
    ways = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
    rates_P1 = rates_P[:, None]
    made: Floats = np.exp(ways + special.xlogy(k, rates_P1) + special.xlog1py(n - k, -rates_P1))
    return made


def _spaced(low: float, high: float) -> Floats:
    made: Floats = low + (high - low) * np.sin(np.linspace(0, np.pi / 2, RATES)) ** 2
    return made


@functools.lru_cache(maxsize=512)
def p_values(n: int, other_n: int) -> Floats:
    """Two-sided p-value of every pair of counts, [n + 1, other_n + 1]: rows by this count, columns by the other.

    Args:
        n: seeds of one variant.
        other_n: seeds of the other.
    """
    score = np.round(np.abs(_score(n, other_n, 0.0)), DIGITS).ravel()
    order = np.argsort(-score, kind="stable")
    # Counts swapped for failures have the same statistic: rates above one half give what those below give.
    rates_P = _spaced(0.0, 1.0)[: RATES // 2 + 1]
    joint_PK = (_pmf(n, rates_P)[:, :, None] * _pmf(other_n, rates_P)[:, None, :]).reshape(len(rates_P), -1)
    beyond_PK = np.cumsum(joint_PK[:, order], axis=1)
    last_K = np.searchsorted(-score[order], -score[order], side="right") - 1
    flat_K = np.empty(score.size)
    flat_K[order] = np.minimum(beyond_PK[:, last_K].max(axis=0), 1.0)
    made = flat_K.reshape(n + 1, other_n + 1)
    made.setflags(write=False)
    return made


def _score(n: int, other_n: int, difference: float) -> Floats:
    """[n + 1, other_n + 1]: the score statistic of every pair of counts, if the first rate is higher by `difference`."""
    mine, other = np.meshgrid(np.arange(n + 1.0), np.arange(other_n + 1.0), indexing="ij")
    rate, other_rate = _restricted(mine, n, other, other_n, difference)
    variance = rate * (1 - rate) / n + other_rate * (1 - other_rate) / other_n
    apart = mine / n - other / other_n - difference
    with np.errstate(divide="ignore", invalid="ignore"):
        made: Floats = np.where(np.abs(apart) < 1e-12, 0.0, apart / np.sqrt(np.maximum(variance, 0.0)))
    return made


def _restricted(mine: Floats, n: int, other: Floats, other_n: int, difference: float) -> tuple[Floats, Floats]:
    """The likeliest rates that differ by `difference`, in closed form (Miettinen and Nurminen 1985)."""
    total, solved = n + other_n, mine + other
    a2 = (n + 2 * other_n) * difference - total - solved
    a1 = (other_n * difference - total - 2 * other) * difference + solved
    a0 = other * difference * (1 - difference)
    q = (a2 / (3 * total)) ** 3 - a1 * a2 / (6 * total**2) + a0 / (2 * total)
    root = np.where(q < 0, -1.0, 1.0) * np.sqrt(np.maximum((a2 / (3 * total)) ** 2 - a1 / (3 * total), 0.0))
    cube = np.where(root == 0, 1.0, root**3)
    angle = (np.pi + np.arccos(np.clip(q / cube, -1.0, 1.0))) / 3
    other_rate = 2 * root * np.cos(angle) - a2 / (3 * total)
    other_rate = np.clip(other_rate, max(0.0, -difference), min(1.0, 1.0 - difference))
    return np.clip(other_rate + difference, 0.0, 1.0), other_rate


def _p_at(difference: float, solved: int, n: int, other: int, other_n: int) -> float:
    """P-value of a true difference of rates."""
    score = np.round(np.abs(_score(n, other_n, difference)), DIGITS)
    beyond = score >= score[solved, other]
    rates_P = _spaced(max(0.0, -difference), min(1.0, 1.0 - difference))
    each_P = np.einsum("pi,ij,pj->p", _pmf(n, np.minimum(rates_P + difference, 1.0)), beyond, _pmf(other_n, rates_P))
    return float(each_P.max())


@functools.lru_cache(maxsize=4096)
def compare(solved: int, n: int, other: int, other_n: int, analysis: Analysis = ONE) -> Effect:
    """Difference of two shares with its exact interval and p-value.

    Args:
        solved: successes of one variant.
        n: its seeds.
        other: successes of the other.
        other_n: its seeds.
        analysis: which interim analysis it is: interval and p-value allow for all of them.
    """
    level = analysis.level_at()
    apart = solved / n - other / other_n
    ends = []
    for bound in (-1.0, 1.0):
        inside, outside = apart, bound
        if _p_at(bound, solved, n, other, other_n) > level:
            ends.append(bound)
            continue
        for _ in range(HALVINGS):
            middle = (inside + outside) / 2
            if _p_at(middle, solved, n, other, other_n) > level:
                inside = middle
            else:
                outside = middle
        ends.append(outside)
    p = analysis.repeated(float(p_values(n, other_n)[solved, other]))
    return Effect(apart, ends[0], ends[1], p=p, n=min(n, other_n), reason=analysis.reason)


def power(n: int, rate: float, other_rate: float, level: float = 1 - LEVEL) -> float:
    """Probability that n seeds of each variant give a p-value of at most `level`, if the variants succeed at these rates."""
    mine, other = (_pmf(n, np.array([each]))[0] for each in (rate, other_rate))
    return float(mine @ (p_values(n, n) <= level) @ other)


@functools.lru_cache(maxsize=4096)
def seeds_needed(rate: float, other_rate: float, level: float = 1 - LEVEL) -> int | None:
    """Fewest seeds of each variant that tell these rates apart with 80 % power; None: over 100, or the rates are equal."""
    if rate == other_rate:
        return None
    found = smallest(lambda n: power(n, rate, other_rate, level), least=FEWEST_SEEDS, most=MOST_SEEDS)
    if found is None:
        return None
    # Power rises in a saw-tooth: a smaller number close by may also do.
    least = max(FEWEST_SEEDS, found - 4)
    return next(n for n in range(least, found + 1) if power(n, rate, other_rate, level) >= POWER)
