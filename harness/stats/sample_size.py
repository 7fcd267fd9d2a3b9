"""How many launches a comparison needs, from a pilot: computed once, so that no interval is read before the number stands.

The number is the smallest at which the minimum detectable effect, (t(0.975) + t(0.8)) * s / sqrt(launches), is as small as
wanted. Stopping when an interval looks narrow would stop at lucky moments.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from modbench.harness.stats.effects import POWER, t_quantile

# Fewest launches of a pilot from which a spread is estimated. From three, the number came out ten times too large in simulations.
FEWEST = 4
# Launches above which the number that a pilot asks for is no longer searched for: nobody would run as many.
MOST_ASKED = 1000
# Significance, divided by the number of arms, at which one arm's spread is not that of the others.
APART = 0.01


@dataclass(frozen=True)
class Number:
    """The number of launches that a pilot asks for.

    Attributes:
        sd: standard deviation of a log-effect between launches.
        asked: launches at which the minimum detectable effect is as wanted.
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


def launches_for(sd: float, mde: float) -> int:
    """Fewest launches at which a true effect of `mde` is told from none with 80 % power; at most `MOST_ASKED`."""

    def enough(n: int) -> bool:
        return (t_quantile(0.975, n) + t_quantile(POWER, n)) * sd / math.sqrt(n) <= math.log1p(mde)

    numbers = range(2, MOST_ASKED)
    return 2 + bisect.bisect_left(numbers, True, key=enough)


def number(arms: Sequence[Sequence[float]], *, mde: float, least: int, most: int) -> Number:
    """Compute the number of launches.

    Args:
        arms: each arm's log-effects in the launches of the pilot.
        mde: wanted minimum detectable effect, as a share.
        least: launches of the pilot.
        most: the cap.
    """
    sd = spread(arms)
    asked = launches_for(sd, mde)
    return Number(sd, asked, max(least, min(asked, most)))
