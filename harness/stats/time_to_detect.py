"""How long it takes to decide: processes and seconds until a true slowdown is called *worse*, from what a machine showed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import variance

from modbench.harness.stats import effects, paired, power
from modbench.harness.stats.effects import MEDIAN_PENALTY
from modbench.harness.stats.paired import ProcessSamples

# The slowdown that is to be called worse, and the margin of the verdict.
SLOWDOWN, MARGIN = 0.03, 0.02
# With fewer rounds no drift could be shown (`steady.testable`); with more, a process is no longer a short one.
ROUNDS = range(6, 61)


@dataclass(frozen=True)
class Spread:
    """What a process of a pair costs, and how much its result varies.

    Attributes:
        between_sd: standard deviation of a log-ratio between processes, without the error inside them.
        block_sd: standard deviation of the log-ratio between blocks of a process.
        start_s: seconds of a process besides its rounds: its process, building and warm-up.
        round_s: seconds of a round.
    """

    between_sd: float
    block_sd: float
    start_s: float
    round_s: float

    def process_sd(self, rounds: int) -> float:
        """Standard deviation between processes of so many rounds, each the median of its blocks."""
        return math.hypot(self.between_sd, MEDIAN_PENALTY * self.block_sd / math.sqrt(rounds))


@dataclass(frozen=True)
class Decision:
    """The cheapest way to a verdict.

    Attributes:
        processes: how many.
        rounds: rounds of each.
        seconds: what they take together.
    """

    processes: int
    rounds: int
    seconds: float


def time_to_decide(spread: Spread, slowdown: float = SLOWDOWN, margin: float = MARGIN) -> Decision | None:
    """Processes, rounds and seconds until a true slowdown is called worse with 80 % power; None: over 1,000 processes.

    The number of rounds is the cheapest: many short processes where processes differ, fewer long ones where blocks do.

    Args:
        spread: of the pair on this machine.
        slowdown: the true one, as a share.
        margin: of the verdict.
    """
    beyond = math.log1p(slowdown) - math.log1p(margin)
    return cheapest(spread, lambda rounds: power.fewest(power.above_0, beyond, spread.process_sd(rounds)))


def cheapest(spread: Spread, processes_of: Callable[[int], int | None]) -> Decision | None:
    """Return what takes least time of all numbers of rounds; None where none decides.

    Args:
        spread: says what a process and a round take.
        processes_of: returns how many processes of so many rounds decide; None: none.
    """
    found = []
    for rounds in ROUNDS:
        processes = processes_of(rounds)
        if processes is not None:
            found.append(Decision(processes, rounds, processes * (spread.start_s + rounds * spread.round_s)))
    return min(found, key=lambda each: each.seconds, default=None)


def measured(column: str, processes: Sequence[ProcessSamples], start_s: float, round_s: float) -> Spread | None:
    """The spread between processes with and without the error inside them; blocks are pooled around their process's median.

    Args:
        column: what is compared.
        processes: the samples of a pair.
        start_s: seconds of a process besides its rounds.
        round_s: seconds of a round.

    Returns:
        None where two processes of the pair do not share blocks with the anchor.
    """
    inside = [paired.numbers([each], column=column, one_thread=False, averaged=False) for each in processes]
    known = [(effect, one.within()) for one in inside for effect in one.effects()]
    if len(known) < 2:
        return None
    around = [value - effect for effect, within in known for value in within]
    blocks = len(around) / len(known)
    # Croux & Rousseeuw 1992: few blocks look too alike.
    block_sd = effects.robust_sd(around) * blocks / (blocks - 0.8)
    error = MEDIAN_PENALTY * block_sd / math.sqrt(blocks)
    between_sd = math.sqrt(max(0.0, variance([effect for effect, _ in known]) - error**2))
    return Spread(between_sd, block_sd, start_s, round_s)


def cost(took_s: float, walls_s: Sequence[float], rounds: int) -> tuple[float, float]:
    """Return the seconds of a process besides its rounds, and of one round.

    Args:
        took_s: seconds of the whole process.
        walls_s: seconds of each of its blocks.
        rounds: that they make.
    """
    return max(0.0, took_s - sum(walls_s)), sum(walls_s) / rounds
