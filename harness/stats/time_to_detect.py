"""How long it takes to decide: launches and seconds until a true slowdown is called *worse*, from a machine's measured spread."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import variance

from modbench.harness.stats import block_effects, paired, power
from modbench.harness.stats.block_effects import MEDIAN_PENALTY
from modbench.harness.stats.paired import LaunchSamples

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
    beyond = math.log1p(slowdown) - math.log1p(margin)
    return cheapest(spread, lambda rounds: power.fewest(power.above_0, beyond, spread.launch_sd(rounds)))


def cheapest(spread: Spread, launches_of: Callable[[int], int | None]) -> Decision | None:
    """Return what takes least time of all numbers of rounds; None where none decides.

    Args:
        spread: says what a launch and a round take.
        launches_of: returns how many launches of so many rounds decide; None: none.
    """
    found = []
    for rounds in ROUNDS:
        launches = launches_of(rounds)
        if launches is not None:
            found.append(Decision(launches, rounds, launches * (spread.start_s + rounds * spread.round_s)))
    return min(found, key=lambda each: each.seconds, default=None)


def measured(column: str, launches: Sequence[LaunchSamples], start_s: float, round_s: float) -> Spread | None:
    """The spread between launches with and without the error inside them; blocks are pooled around their launch's median.

    Args:
        column: what is compared.
        launches: the samples of a pair.
        start_s: seconds of a launch besides its rounds.
        round_s: seconds of a round.

    Returns:
        None where two launches of the pair do not share blocks with the anchor.
    """
    inside = [paired.numbers([each], column=column, one_thread=False, averaged=False) for each in launches]
    known = [(effect, one.within()) for one in inside for effect in one.effects()]
    if len(known) < 2:
        return None
    around = [value - effect for effect, within in known for value in within]
    blocks = len(around) / len(known)
    # Croux & Rousseeuw 1992: few blocks look too alike.
    block_sd = block_effects.spread(around) * blocks / (blocks - 0.8)
    error = MEDIAN_PENALTY * block_sd / math.sqrt(blocks)
    between_sd = math.sqrt(max(0.0, variance([effect for effect, _ in known]) - error**2))
    return Spread(between_sd, block_sd, start_s, round_s)


def cost(took_s: float, walls_s: Sequence[float], rounds: int) -> tuple[float, float]:
    """Return the seconds of a launch besides its rounds, and of one round.

    Args:
        took_s: seconds of the whole launch.
        walls_s: seconds of each of its blocks.
        rounds: that they make.
    """
    return max(0.0, took_s - sum(walls_s)), sum(walls_s) / rounds
