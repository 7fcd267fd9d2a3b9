"""How many processes, blocks or seeds decide a question: the power of the rule that judges, simulated.

A question is asked of intervals: does one lie above 0, or inside a margin? `prospect` draws values whose effect and spread are as
given, makes their intervals as `effects.py` does, at one or several interim analyses, and counts how often the answer is yes. The
draws are the points of a lattice, always the same, so that the power of more is hardly ever less by chance. All of it holds if
effect and spread are as given: a number that is advised after a comparison takes what was estimated.

The number of a pilot is computed once, so that no interval is read before it stands: stopping when an interval looks narrow would
stop at lucky moments.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import special

from modbench.harness.stats.effects import POWER, quantile
from modbench.harness.stats.interim import FEWEST, LEVEL, analysis_at, schedule

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]

# The numbers above which none is searched for: nobody would make as many processes or blocks, or train as many seeds.
MOST, MOST_SEEDS = 1000, 2000
# Fewest processes of a pilot from which a spread is estimated. From three, the number came out ten times too large in
# simulations.
FEWEST_OF_PILOT = 4
# Significance, divided by the number of variants, at which one variant's spread is not that of the others.
APART = 0.01
# The power is right to 0.002 with these.
POINTS, BINS = 8192, 256


class Ends(NamedTuple):
    """Intervals of an effect, of one comparison or of many simulated ones.

    Attributes:
        low: lower end of the 95 % interval.
        high: upper end.
        low90: lower end of the 90 % interval.
        high90: upper end.
    """

    low: float | Floats
    high: float | Floats
    low90: float | Floats
    high90: float | Floats


Asked: TypeAlias = Callable[[Ends], "bool | Bools"]


def above_0(ends: Ends) -> bool | Bools:
    """Whether an effect is significantly different from 0, or a distance from what lies there: the 95 % CI ends above it."""
    return ends.low > 0


class Prospect(NamedTuple):
    """What a plan promises if effect and spread are as given.

    Attributes:
        power: probability that some analysis decides.
        n: processes, blocks or seeds on average, if it stops there.
    """

    power: float
    n: float


def prospect(asked: Asked, effect: float, sd: float, numbers: Sequence[int], freedom: float = 1.0) -> Prospect:
    """Return how often a question is decided, and with how many processes, blocks or seeds on average.

    Args:
        asked: the question.
        effect: the true one; of times on the log scale.
        sd: standard deviation of a value of the effect.
        numbers: processes, blocks or seeds at each analysis.
        freedom: degrees of freedom that each value beyond the first adds: 1 of pairs; 2 of independent sides that vary alike.
            Welch's are estimated, a little too few: with seven values of each side the power is 2 points less than this.
    """
    mean_R, squares_R, made, used = np.zeros(POINTS), np.zeros(POINTS), 0, 0.0
    going_R = np.ones(POINTS, dtype=bool)
    for number, (n, (normal_R, bin_R)) in enumerate(zip(numbers, _points(len(numbers)), strict=True), 1):
        # The new values have a mean of their own, and add to the squares around the mean of all.
        new = n - made
        apart_R = normal_R / math.sqrt(new) - mean_R
        inside = _squares(freedom * new - (1.0 if made else freedom))
        squares_R = squares_R + inside[bin_R] + apart_R**2 * made * new / n
        mean_R = mean_R + apart_R * new / n
        used += new * float(going_R.mean())
        made = n
        value_R, error_R = effect + sd * mean_R, sd * np.sqrt(squares_R / (freedom * (n - 1) * n))
        analysis = analysis_at(number, numbers)
        wide_R, narrow_R = (
            quantile(1 - analysis.level_at(level) / 2, freedom * (n - 1)) * error_R for level in (LEVEL, 2 * LEVEL)
        )
        going_R &= ~asked(Ends(value_R - wide_R, value_R + wide_R, value_R - narrow_R, value_R + narrow_R))
    return Prospect(1 - float(going_R.mean()), used)


@functools.cache
def _points(analyses: int) -> tuple[tuple[Floats, NDArray[np.intp]], ...]:
    """Of each analysis what is drawn: a normal value, and which of so many equally probable sums of squares.

    They are the points of a lattice that fills a cube evenly (Roberts' generalised golden ratio), two coordinates an analysis.
    """
    dimensions, ratio = 2 * analyses, 2.0
    for _ in range(60):
        ratio = (1 + ratio) ** (1 / (dimensions + 1))
    steps_D = ratio ** -np.arange(1.0, dimensions + 1)
    place_DR = (0.5 + np.outer(steps_D, np.arange(1, POINTS + 1))) % 1
    pairs = zip(place_DR[::2], place_DR[1::2], strict=True)
    return tuple((special.ndtri(normal_R), (BINS * bin_R).astype(np.intp)) for normal_R, bin_R in pairs)


@functools.lru_cache(maxsize=1024)
def _squares(freedom: float) -> Floats:
    """Sums of squares of so many standard normal values, in the middles of bins of equal probability."""
    middles_B = (np.arange(BINS) + 0.5) / BINS
    return np.asarray(special.chdtri(freedom, 1 - middles_B)) if freedom else np.zeros(BINS)


def fewest(
    asked: Asked,
    effect: float,
    sd: float,
    *,
    freedom: float = 1.0,
    analyses: int = 1,
    wanted: float = POWER,
    least: int = FEWEST,
    most: int = MOST,
) -> int | None:
    """Return the fewest processes, blocks or seeds that decide a question with this power; None: more than `most`.

    Args:
        asked: the question.
        effect: the true one; of times on the log scale.
        sd: standard deviation of a value of the effect.
        freedom: degrees of freedom that each value beyond the first adds.
        analyses: of the plan, at most.
        wanted: the power.
        least: at least so many.
        most: none above it is searched for.
    """

    def chance(n: int) -> float:
        return prospect(asked, effect, sd, schedule(n, analyses), freedom).power

    return smallest(chance, wanted, least=least, most=most)


def smallest(chance: Callable[[int], float], wanted: float = POWER, *, least: int, most: int) -> int | None:
    """Return the smallest number with at least the wanted chance, which grows with it; None: more than `most`."""
    # Twice as many until it is enough: what is far too large takes long.
    enough = least
    while enough <= most and chance(enough) < wanted:
        enough = most + 1 if enough == most else min(2 * enough, most)
    if enough > most:
        return None
    numbers = range(max(least, enough // 2), enough + 1)
    return numbers[bisect.bisect_left(numbers, True, key=lambda n: chance(n) >= wanted)]


def spread(variants: Sequence[Sequence[float]]) -> float:
    """Standard deviation of a process's effect, from all variants of a comparison.

    Args:
        variants: each variant's log-effects against the baseline, one per process; at least `FEWEST_OF_PILOT` each.

    The variance is averaged over the variants. What makes processes differ (memory layout, hashing, neighbours, the clock)
    acts on all variants of a process, and six processes alone know a standard deviation only to within a factor of two.
    Averaging is honest where variants vary alike; a variant that varies more than the others by more than chance (F test) is
    taken by itself.
    """
    variances = [float(np.var(effects, ddof=1)) for effects in variants]
    freedom = [len(effects) - 1 for effects in variants]
    pooled = sum(map(math.prod, zip(variances, freedom, strict=True))) / sum(freedom)
    largest = max(range(len(variants)), key=lambda variant: variances[variant])
    rest = sum(freedom) - freedom[largest]
    others = pooled * sum(freedom) - variances[largest] * freedom[largest]
    if rest and others > 0:
        # The variants share their baseline, so that the others know less than their number says: count them as one.
        p = float(special.fdtrc(freedom[largest], freedom[largest], variances[largest] / (others / rest)))
        if p < APART / len(variants):
            pooled = variances[largest]
    return math.sqrt(pooled)
