"""How long it takes to decide: launches and seconds until a true slowdown is called *worse*, from a machine's measured spread."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from modbench.harness.stats.block_effects import MEDIAN_PENALTY
from modbench.harness.stats.sample_size import fewest, told

# The slowdown that is to be called worse, and the margin of the verdict.
SLOWDOWN, MARGIN = 0.03, 0.02
# With fewer rounds no drift could be shown (`steady.testable`); with more, a launch is no longer a short one.
ROUNDS = range(6, 61)


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
    found, beyond = [], math.log1p(slowdown) - math.log1p(margin)
    for rounds in ROUNDS:
        launches = fewest(functools.partial(told, beyond, spread.launch_sd(rounds)))
        if launches is not None:
            found.append(Decision(launches, rounds, launches * (spread.start_s + rounds * spread.round_s)))
    return min(found, key=lambda each: each.seconds, default=None)
