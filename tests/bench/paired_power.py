"""How often `compare --paired` tells two revisions apart, by the spread between processes of the same code.

python tests/bench/paired_power.py
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from modbench.harness.stats import alternated
from modbench.harness.stats.alternated import Block


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
    random: np.random.Generator, *, blocks: int, effect: float, sd: float, repeats: int, drift: float = 0.0
) -> Found:
    """Simulate comparisons of two revisions.

    Args:
        random: source of the noise.
        blocks: blocks of three launches.
        effect: true log effect of the second side, above 0 where it is faster.
        sd: standard deviation of a launch's log time.
        repeats: comparisons.
        drift: what the log time grows by from launch to launch.
    """
    apart, covers, fooled = 0, 0, 0
    slope = drift * np.arange(3 * blocks).reshape(blocks, 3)
    for noise in random.normal(0.0, sd, (repeats, blocks, 3)):
        times = [Block(first, second - effect, again) for first, second, again in (noise + slope).tolist()]
        found, same = alternated.between(times), alternated.same(times)
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
    print("blocks  launch sd  drift   3 % slower told apart  covers  equal told apart  A/A told apart")
    for blocks in (5, 8, 12):
        for sd in (0.005, 0.01, 0.02, 0.03):
            for drift in (0.0, 0.002):
                how = {"blocks": blocks, "sd": sd, "repeats": 4000}
                slow = simulate(random, effect=math.log(1 / 1.03), drift=drift, **how)  # type: ignore[arg-type]  # numbers of both kinds
                none = simulate(random, effect=0.0, drift=drift, **how)  # type: ignore[arg-type]  # the same
                print(
                    f"{blocks:6d} {sd:9.1%} {drift:7.1%} {slow.told_apart:20.3f} {slow.covers:9.3f} {none.told_apart:14.3f}"
                    f" {none.fooled:15.3f}"
                )


if __name__ == "__main__":
    main()
