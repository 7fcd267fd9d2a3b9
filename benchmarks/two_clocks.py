"""Does the clock that decides hold the truth, and at what price? Planted waits and noise, through the statistics of a report.

    python benchmarks/two_clocks.py --repeats 1000

Of each kind: how often wall time decides, how often the interval of the clock that decides holds a true +2 %, and how often
that is called *worse*, which should be seldom (2.5 %) since it is no more than the margin; then equal variants called
*better* or *worse*, and the share of true +3 and +5 % that is called *worse*. Prints a Markdown table for
docs/method-verdicts.md, with a line for the rule and one for a simpler one: the clocks agree wherever the interval of their
gap lies inside half the margin."""

from __future__ import annotations

import argparse
import contextlib
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple
from unittest import mock

from simulate import World, covered, lognormal_costs, pairs

from modbench.harness.stats import verdicts
from modbench.harness.stats.verdicts import Contrast, together

# Kinds of noise and waits; the variant is compared with the anchor.
KINDS = {
    "noise": World(),
    "four times the noise": World(sample_sd=0.05),
    "5 % of calls take 3×": World(spikes=0.05, anchor_spikes=0.05),
    "input costs lognormal, sd 0.5": World(costs=lognormal_costs(6, 0.5)),
    "drift of 2 % a round": World(drift=0.02),
    "heavy tails": World(tails=0.01),
    "waits in half of all samples": World(preempted=0.5),
    "busy blocks": World(busy_blocks=0.5),
    "busy processes": World(busy_processes=1.0),
    "long waits in 5 %": World(preempted=0.05, waits=9.0),
    "waits in 80 % of one, 30 % of the other": World(preempted=0.8, anchor_preempted=0.3),
    "waits in 30 % of one, 80 % of the other": World(preempted=0.3, anchor_preempted=0.8),
    "waits in 20 % of one, 5 % of the other": World(preempted=0.2, anchor_preempted=0.05),
    "3 % waits in 90 % of one, 20 % of the other": World(preempted=0.9, anchor_preempted=0.2, waits=0.03),
    "1 % waits in 90 % of one, 20 % of the other": World(preempted=0.9, anchor_preempted=0.2, waits=0.01),
    "both clocks noisy, each by itself": World(clock_sd=0.03),
}


class Shares(NamedTuple):
    """Shares of pairs.

    Attributes:
        wall: judged by wall time.
        held: the interval of the clock that decides holds the truth.
        worse: called *worse*.
        either: called *worse* or *better*.
    """

    wall: float
    held: float
    worse: float
    either: float

    def __str__(self) -> str:
        return f"{self.wall:.2f} · {self.held:.3f} · {self.worse:.3f}"


def made(world: World, factor: float, repeats: int, seed: int = 0) -> list[Contrast]:
    """Planted pairs.

    Args:
        world: the kind.
        factor: time of the variant over the anchor's; of the input in the middle, where costs differ.
        repeats: how many.
        seed: draws everything.
    """
    rng = random.Random(seed)
    # The median over inputs of different cost is that of the middle ones.
    costs = sorted(map(math.log, world.costs))
    middle = (costs[(len(costs) - 1) // 2] + costs[len(costs) // 2]) / 2
    world = replace(world, costs=tuple(cost / math.exp(middle) for cost in world.costs))
    return [pair for _ in range(repeats) for pair in pairs(world, [factor], rng)]


def shares(found: Sequence[Contrast], factor: float) -> Shares:
    """Judge pairs whose variant takes `factor` times as long as the anchor."""
    judged = [each for pair in found for each in together([pair])]
    words = [each.verdict for each in judged]
    return Shares(
        sum(not each.by_cpu and not each.noisy for each in judged) / len(judged),
        sum(covered(each.effect, -math.log(factor)) for each in judged) / len(judged),
        words.count("worse") / len(judged),
        sum(word in {"worse", "better"} for word in words) / len(judged),
    )


def half_alone() -> mock._patch[object]:
    """The simpler rule, while it is entered: half the margin alone decides."""
    own = verdicts._agree
    return mock.patch.object(verdicts, "_agree", lambda gap, edge, **_: own(gap, edge, at_zero=False))


def main() -> None:
    """Print a line for each kind and rule."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=5)
    options = parser.parse_args()
    error = math.sqrt(0.025 * 0.975 / options.repeats)
    head = f"{options.processes} processes of 6 rounds, {options.repeats} pairs in each cell"
    print(f"{head}; one Monte-Carlo error of 0.025 is {error:.3f}\n")
    columns = "+2 %: by wall time · holds · *worse* | equal: *better* or *worse* | +3 %: *worse* | +5 %: *worse*"
    print(f"| | rule | {columns} |\n| --- | --- | --- | --- | --- | --- |")
    for name, world in KINDS.items():
        sized = replace(world, processes=options.processes)
        found = {factor: made(sized, factor, options.repeats) for factor in (1.02, 1.0, 1.03, 1.05)}
        for rule, entered in (("ours", contextlib.nullcontext()), ("half alone", half_alone())):
            with entered:
                edge, equal, three, five = (shares(each, factor) for factor, each in found.items())
            print(
                f"| {name} | {rule} | {edge} | {equal.either:.3f} | {three.worse:.2f} | {five.worse:.2f} |", flush=True
            )


if __name__ == "__main__":
    main()
