"""How often do the intervals of the typical and of the mean ratio hold the truth? Simulated through the statistics of a report.

    python benchmarks/estimands.py

Prints a Markdown table for docs/method-timing.md.
"""

from __future__ import annotations

import argparse
import math
import random
from dataclasses import replace
from statistics import NormalDist, median

from simulate import World, covered, lognormal_costs, pairs, process

from modbench.harness.stats import paired
from modbench.harness.stats.paired import ProcessSamples

SIZES = ((5, 8), (10, 6), (15, 10))
LONG_RUN = 5000
WORLDS = {
    "noise only": World(),
    "one call in ten takes 3×": World(spikes=0.1),
    "input costs lognormal, sd 0.5": World(costs=(0.5,)),
    "the same, and spikes": World(costs=(0.5,), spikes=0.1),
}


def shares(world: World, repeats: int, seed: int = 0) -> tuple[float, float]:
    """Share of the intervals that hold the true typical and mean effect of a variant that takes 1.2 times as long.

    The true typical effect is the median of very many processes' effects.
    """
    rng = random.Random(seed)
    variants = {"anchor": 1.0, "variant": 1.2}
    many = [
        ProcessSamples(each["variant"], None, each["anchor"], {})
        for each in (process(world, variants, rng) for _ in range(LONG_RUN))
    ]
    truths = (median(paired.numbers(many, one_thread=False).effects()), -math.log(1.2 * world.mean_cost()))
    held = [0, 0]
    for _ in range(repeats):
        found = pairs(world, [1.2], rng)[0]
        held[0] += covered(found.effect, truths[0])
        held[1] += covered(found.wall.other, truths[1])
    return held[0] / repeats, held[1] / repeats


def sized(world: World, processes: int, rounds: int) -> World:
    """The world with that allocation; a lognormal cost for each round of a process where it has costly inputs."""
    costs = lognormal_costs(rounds, world.costs[0]) if world.costs != (1.0,) else world.costs
    return replace(world, processes=processes, rounds=rounds, costs=costs)


def as_one_list(processes: int, rounds: int, process_sd: float = 0.013, block_sd: float = 0.01) -> float:
    """Share of 95 % intervals that would hold the truth if the blocks of all processes were one list (normal, many blocks)."""
    blocks = processes * rounds
    claimed = math.hypot(process_sd, block_sd) / math.sqrt(blocks)
    true = math.sqrt(process_sd**2 / processes + block_sd**2 / blocks)
    normal = NormalDist()
    return 2 * normal.cdf(normal.inv_cdf(0.975) * claimed / true) - 1


def main() -> None:
    """Print coverage by world and allocation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2000)
    repeats = parser.parse_args().repeats
    print("| coverage of the 95 % interval: median / mean |", " | ".join(f"{n} processes x {r}" for n, r in SIZES), "|")
    print("| --- |", " --- |" * len(SIZES))
    for name, world in WORLDS.items():
        found = (shares(sized(world, *size), repeats) for size in SIZES)
        print(f"| {name} |", " | ".join(f"{typical:.3f} / {mean:.3f}" for typical, mean in found), "|", flush=True)
    sizes = ((3, 20), *SIZES)
    print("as one list:", ", ".join(f"{n} processes x {r} {as_one_list(n, r):.2f}" for n, r in sizes))


if __name__ == "__main__":
    main()
