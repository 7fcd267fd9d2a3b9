"""How many launches or seeds decide a question with 80 % power: the one rule behind every number that is advised.

A question is decided where an end of a t-interval lies on one side of a value, so that its power is a probability of the
non-central t distribution (`power`). A verdict can be given in two ways, of which `decided` counts either. `fewest` finds the
number. All of it holds if effect and spread are as given: a number that is advised after a comparison takes what was estimated.

The number of a pilot is computed once, so that no interval is read before it stands: stopping when an interval looks narrow would
stop at lucky moments.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from modbench.harness.stats.effects import LEVEL, POWER, Effect, t_quantile
from modbench.harness.stats.reason import Reason

Floats = NDArray[np.float64]

# Fewest launches that give an interval, and the number above which none is searched for: nobody would make as many.
LEAST, MOST = 3, 1000
# Fewest launches of a pilot from which a spread is estimated. From three, the number came out ten times too large in simulations.
FEWEST = 4
# Significance, divided by the number of arms, at which one arm's spread is not that of the others.
APART = 0.01
_BINS = 256


def power(shift: float | Floats, freedom: float | Floats, level: float) -> Floats:
    """Return the probability that a one-sided t-test finds what lies `shift` standard errors away, in the shape of `shift`.

    Args:
        shift: the distance, in standard errors of the estimate; below 0 on the wrong side.
        freedom: degrees of freedom of the standard error.
        level: of the test; half of that of a two-sided interval.
    """
    quantile = -special.stdtrit(freedom, level)
    below = special.nctdtr(freedom, shift, quantile)
    # Far out the non-central t has no digits left; its normal approximation has.
    normal = (quantile * (1 - 1 / (4 * freedom)) - shift) / np.sqrt(1 + quantile**2 / (2 * freedom))
    return np.asarray(1 - np.where(np.isnan(below), special.ndtr(normal), below))


def told(distance: float, sd: float, n: int) -> float:
    """Return the probability that the 95 % interval of the mean of n values ends short of what lies at this distance from it.

    So an effect is told from none (its own size is the distance), from a margin, or a time from its limit.

    Args:
        distance: from the true mean; of times, on the log scale.
        sd: standard deviation of the values.
        n: launches or seeds, at least two.
    """
    if sd <= 0:
        return float(distance > 0)
    return float(power(distance * math.sqrt(n) / sd, n - 1, (1 - LEVEL) / 2))


def decided(effect: float, sd: float, n: int, margin: float) -> float:
    """Return the probability of a verdict: the 95 % interval excludes no effect, or the 90 % interval lies inside the margin.

    Either way alone takes up to two and a half times as many launches: where one fails, the other often does not. Given the
    standard deviation that n values show, the mean is normal; the result averages over bins of equal probability of the former.

    Args:
        effect: the true one, on the log scale.
        sd: standard deviation of the values.
        n: launches or seeds, at least two.
        margin: of practical interest, as a share; 0: only an effect is asked for.
    """
    if sd <= 0:
        return float(effect != 0 or margin > 0)
    error = sd / math.sqrt(n)
    wide_S, narrow_S = (t_quantile(share, n) * error * _seen(n - 1) for share in (0.975, 0.95))
    inside_S = np.maximum(math.log1p(margin) - narrow_S, 0)
    # No verdict on a mean that is too far out for equivalence, and too close for an effect.
    open_S = sum(special.ndtr((wide_S - e) / error) - special.ndtr((inside_S - e) / error) for e in (effect, -effect))
    return 1 - float(np.mean(np.where(inside_S < wide_S, open_S, 0)))


@functools.cache
def _seen(freedom: int) -> Floats:
    """Standard deviations that values show, as shares of the true one, in the middles of bins of equal probability."""
    middles_S = (np.arange(_BINS) + 0.5) / _BINS
    return np.asarray(np.sqrt(special.chdtri(freedom, middles_S) / freedom))


def fewest(
    chance: Callable[[int], float], wanted: float = POWER, *, least: int = LEAST, most: int = MOST
) -> int | None:
    """Return the fewest launches or seeds with at least the wanted chance, which grows with them; None: more than `most`."""
    # Twice as many until it is enough: of numbers far too large the t distribution has no digits left.
    enough = least
    while enough <= most and chance(enough) < wanted:
        enough = most + 1 if enough == most else min(2 * enough, most)
    if enough > most:
        return None
    numbers = range(max(least, enough // 2), enough + 1)
    return numbers[bisect.bisect_left(numbers, True, key=lambda n: chance(n) >= wanted)]


def to_decide(effect: Effect, margin: float) -> int | None:
    """Return how many launches, more than were made, give a verdict; None: over 1,000.

    Args:
        effect: as estimated: the number holds if effect and spread are so.
        margin: of practical interest, as a share.
    """
    sd = effect.sd
    if sd is None:
        return LEAST
    return fewest(lambda n: decided(effect.value, sd, n, margin), least=max(LEAST, effect.n + 1))


def would_decide(effect: Effect, margin: float) -> Reason:
    """Return how many launches would decide an inconclusive comparison."""
    needed = to_decide(effect, margin)
    return Reason("no_launches_decide", most=MOST) if needed is None else Reason("launches_decide", n=needed)


@dataclass(frozen=True)
class Number:
    """The number of launches that a pilot asks for.

    Attributes:
        sd: standard deviation of a log-effect between launches.
        asked: launches at which a true effect as large as wanted is told from none; at most `MOST`.
        made: launches to make: asked, but at least the pilot's and at most the cap.
    """

    sd: float
    asked: int
    made: int


def spread(arms: Sequence[Sequence[float]]) -> float:
    """Standard deviation of a launch's effect, from all arms of a comparison.

    Args:
        arms: each arm's log-effects against the anchor, one per launch; at least `FEWEST` each.

    The variance is averaged over the arms. What makes launches differ (memory layout, hashing, neighbours, the clock) acts on
    all arms of a process, and six launches alone know a standard deviation only to within a factor of two. Averaging is
    honest where arms vary alike; an arm that varies more than the others by more than chance (F test) is taken by itself.
    """
    variances = [float(np.var(effects, ddof=1)) for effects in arms]
    freedom = [len(effects) - 1 for effects in arms]
    pooled = sum(map(math.prod, zip(variances, freedom, strict=True))) / sum(freedom)
    largest = max(range(len(arms)), key=lambda arm: variances[arm])
    rest = sum(freedom) - freedom[largest]
    others = pooled * sum(freedom) - variances[largest] * freedom[largest]
    if rest and others > 0:
        # The arms share their anchor, so that the others know less than their number says: count them as one.
        p = float(special.fdtrc(freedom[largest], freedom[largest], variances[largest] / (others / rest)))
        if p < APART / len(arms):
            pooled = variances[largest]
    return math.sqrt(pooled)


def number(arms: Sequence[Sequence[float]], *, mde: float, least: int, most: int) -> Number:
    """Compute the number of launches.

    Args:
        arms: each arm's log-effects in the launches of the pilot.
        mde: wanted minimum detectable effect, as a share.
        least: launches of the pilot.
        most: the cap.
    """
    sd = spread(arms)
    asked = fewest(lambda n: told(math.log1p(mde), sd, n)) or MOST
    return Number(sd, asked, max(least, min(asked, most)))
