"""How often `compare --paired` tells two revisions apart, by the noise of the machine.

python tests/bench/paired_power.py
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from modbench.commands._paired.measure import ROUNDS
from modbench.commands.compare.paired import BLOCKS
from modbench.harness.stats import aba_blocks


class Noise(NamedTuple):
    """Standard deviations of a log time.

    Attributes:
        process: between processes of the same code.
        round: between rounds of a process, besides the machine's.
        machine: of the machine's speed, from one second to the next; all processes of a round share it.
    """

    process: float
    round: float
    machine: float = 0.0


class Found(NamedTuple):
    """Shares of simulated comparisons.

    Attributes:
        told_apart: whose interval excludes no difference.
        covers: whose interval holds the true difference.
        fooled: whose A/A interval excludes no difference.
    """

    told_apart: float
    covers: float
    fooled: float


def simulate(
    random: np.random.Generator,
    noise: Noise,
    *,
    effect: float,
    repeats: int,
    blocks: int = BLOCKS,
    rounds: int = ROUNDS,
) -> Found:
    """Simulate comparisons of two revisions.

    Args:
        random: source of the noise.
        noise: of processes, rounds and the machine.
        effect: true log effect of the second side, above 0 where it is faster.
        repeats: comparisons.
        blocks: blocks of three processes.
        rounds: rounds of each process.
    """
    apart, covers, fooled = 0, 0, 0
    for _ in range(repeats):
        made = []
        for _ in range(blocks):
            times = random.normal(0, noise.process, (3, 1)) + random.normal(0, noise.round, (3, rounds))
            first, second, again = (times + random.normal(0, noise.machine, rounds)).tolist()
            made.append(aba_blocks.block(first, [time - effect for time in second], again))
        found, same = aba_blocks.between(made), aba_blocks.same(made)
        assert found.low is not None
        assert found.high is not None
        assert same.low is not None
        assert same.high is not None
        apart += not found.low <= 0 <= found.high
        covers += found.low <= effect <= found.high
        fooled += not same.low <= 0 <= same.high
    return Found(apart / repeats, covers / repeats, fooled / repeats)


def main() -> None:
    """Print a table."""
    random = np.random.default_rng(0)
    print("blocks  process  rounds   3 % slower told apart  covers  equal told apart  A/A told apart")
    for blocks in (6, BLOCKS, 20):
        for process in (0.005, 0.01, 0.015, 0.02, 0.03):
            for spread in (0.02, 0.05):
                noise = Noise(process, spread, 0.08)
                slow = simulate(random, noise, effect=math.log(1 / 1.03), repeats=2000, blocks=blocks)
                none = simulate(random, noise, effect=0.0, repeats=2000, blocks=blocks)
                print(
                    f"{blocks:6d} {process:8.1%} {spread:7.1%} {slow.told_apart:23.3f} {slow.covers:7.3f} {none.told_apart:17.3f}"
                    f" {none.fooled:15.3f}"
                )


if __name__ == "__main__":
    main()
