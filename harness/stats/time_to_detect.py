"""How long it takes to decide: launches and seconds until a true slowdown is called *worse*, from a machine's measured spread."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import special

from modbench.harness.stats.block_effects import MEDIAN_PENALTY
from modbench.harness.stats.effects import POWER, t_quantile

# The slowdown that is to be called worse, and the margin of the verdict.
SLOWDOWN, MARGIN = 0.03, 0.02
# With fewer rounds no drift could be shown (`steady.testable`); with more, a launch is no longer a short one.
ROUNDS = range(6, 61)
FEWEST_LAUNCHES, MOST_LAUNCHES = 3, 1000


def detectable(sd: float, launches: int) -> float:
    """Smallest true difference, as a share, that is told apart from none with 80 % power.

    Args:
        sd: standard deviation of a log-ratio between launches.
        launches: at least two.
    """
    return math.expm1((t_quantile(0.975, launches) + t_quantile(POWER, launches)) * sd / math.sqrt(launches))


def chance_of_worse(sd: float, launches: int, slowdown: float = SLOWDOWN, margin: float = MARGIN) -> float:
    """Probability that the 95 % interval over launches lies below the margin, if launch effects are normal.

    Args:
        sd: standard deviation of a log-ratio between launches.
        launches: at least two.
        slowdown: the true one, as a share.
        margin: of practical interest, as a share.
    """
    beyond = math.log1p(slowdown) - math.log1p(margin)
    if sd <= 0:
        return float(beyond > 0)
    shift = beyond * math.sqrt(launches) / sd
    return float(1 - special.nctdtr(launches - 1, shift, t_quantile(0.975, launches)))


@dataclass(frozen=True)
class Spread:
    """What a launch of a pair costs, and how much its result varies.

    Attributes:
        between_sd: standard deviation of a log-ratio between launches, without the error inside them.
        block_sd: standard deviation of the log-ratio between blocks of a launch.
        start_s: seconds of a launch besides its rounds: its process, building and warm-up.
        round_s: seconds of a round.
    """

    between_sd: float
    block_sd: float
    start_s: float
    round_s: float

    def launch_sd(self, rounds: int) -> float:
        """Standard deviation between launches of so many rounds, each the median of its blocks."""
        return math.hypot(self.between_sd, MEDIAN_PENALTY * self.block_sd / math.sqrt(rounds))


@dataclass(frozen=True)
class Decision:
    """The cheapest way to a verdict.

    Attributes:
        launches: how many.
        rounds: rounds of each.
        seconds: what they take together.
    """

    launches: int
    rounds: int
    seconds: float


def time_to_decide(spread: Spread, slowdown: float = SLOWDOWN, margin: float = MARGIN) -> Decision | None:
    """Launches, rounds and seconds until a true slowdown is called worse with 80 % power; None: over 1,000 launches.

    The number of rounds is the cheapest: many short launches where launches differ, fewer long ones where blocks do.

    Args:
        spread: of the pair on this machine.
        slowdown: the true one, as a share.
        margin: of the verdict.
    """
    found = []
    for rounds in ROUNDS:
        launches = _fewest(spread.launch_sd(rounds), slowdown, margin)
        if launches is not None:
            found.append(Decision(launches, rounds, launches * (spread.start_s + rounds * spread.round_s)))
    return min(found, key=lambda each: each.seconds, default=None)


def _fewest(sd: float, slowdown: float, margin: float) -> int | None:
    """Fewest launches with enough power, by bisection: more launches have more."""
    low, high = FEWEST_LAUNCHES, MOST_LAUNCHES
    if chance_of_worse(sd, high, slowdown, margin) < POWER:
        return None
    while low < high:
        middle = (low + high) // 2
        if chance_of_worse(sd, middle, slowdown, margin) >= POWER:
            high = middle
        else:
            low = middle + 1
    return low
