"""Samples of processes whose truth is known, for simulations that go through the statistics of a report.

Each round has one input and one block; a block visits its variants in random order and then in reverse. No clock is read.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modbench.harness.core.contracts import Estimand
from modbench.harness.stats import paired
from modbench.harness.stats.paired import ProcessSamples
from modbench.harness.stats.verdicts import Contrast, Rule, together

MARGIN = 0.02
Columns = dict[str, list[float]]


@dataclass(frozen=True)
class World:
    """What a machine and a pair of variants are like.

    Attributes:
        processes: of a comparison.
        rounds: of a process.
        process_sd: standard deviation of a process's effect on a variant relative to the baseline.
        sample_sd: standard deviation of a sample's log time.
        spikes: share of the variant's samples that take three times as long.
        anchor_spikes: the same of the baseline's.
        costs: relative cost of each input for the variant; the baseline's is 1.
        preempted: share of all samples that wait for a processor.
        anchor_preempted: share of the baseline's that do; None: as of the variants.
        waits: how long, as a share of the sample's own time; None: up to that time, at random.
        busy_blocks: share of blocks in which every sample waits, all of one block for the same share of their time.
        busy_processes: the longest wait of a sample, as a share, drawn for each process between 0 and this.
        drift: by how much all variants are slower in each further round, in log time.
        tails: of noise by Student's t with 2 degrees of freedom, beside the other, its scale in log time.
        clock_sd: standard deviation of noise that the two clocks do not share, in log time.
    """

    processes: int = 10
    rounds: int = 6
    process_sd: float = 0.005
    sample_sd: float = 0.013
    spikes: float = 0.0
    anchor_spikes: float = 0.0
    costs: tuple[float, ...] = (1.0,)
    preempted: float = 0.0
    anchor_preempted: float | None = None
    waits: float | None = None
    busy_blocks: float = 0.0
    busy_processes: float = 0.0
    drift: float = 0.0
    tails: float = 0.0
    clock_sd: float = 0.0

    def mean_cost(self) -> float:
        """True mean time of the variant over the baseline's, for a variant of factor 1."""
        return math.fsum(self.costs) / len(self.costs) * (1 + 2 * self.spikes)


def lognormal_costs(inputs: int, sd: float, seed: int = 0) -> tuple[float, ...]:
    """Input costs with that standard deviation of their logs."""
    rng = random.Random(seed)
    return tuple(math.exp(rng.gauss(0, sd)) for _ in range(inputs))


def process(world: World, factors: Mapping[str, float], rng: random.Random) -> dict[str, Columns]:
    """Samples of one process: variant to columns. The first variant is the baseline, which has no spikes and no costly inputs."""
    names = ("round", "block", "position", "calls", "input", "wall_s", "cpu_s", "wait_s", "others_s", "blocked_s")
    samples: dict[str, Columns] = {variant: {name: [] for name in names} for variant in factors}
    anchor = next(iter(factors))
    own = {
        variant: factor * math.exp(rng.gauss(0, world.process_sd) if variant != anchor else 0.0)
        for variant, factor in factors.items()
    }
    busy = rng.random() * world.busy_processes
    for round_ in range(world.rounds):
        number = round_ % len(world.costs)
        held = rng.random() if rng.random() < world.busy_blocks else 0.0
        order = rng.sample(list(factors), len(factors))
        for position, variant in enumerate(order + order[::-1]):
            cpu = 0.01 * own[variant] * math.exp(rng.gauss(0, world.sample_sd) + world.drift * round_)
            if world.tails:
                cpu *= math.exp(world.tails * rng.gauss(0, 1) / math.sqrt(rng.expovariate(1)))
            spikes = world.anchor_spikes if variant == anchor else world.spikes
            cpu *= (1.0 if variant == anchor else world.costs[number]) * (3.0 if rng.random() < spikes else 1.0)
            share = world.anchor_preempted if variant == anchor else None
            long = rng.random() if world.waits is None else world.waits
            wait = long if rng.random() < (world.preempted if share is None else share) else 0.0
            wait = cpu * (wait + held + busy * rng.random())
            wall, cpu = (each * math.exp(rng.gauss(0, world.clock_sd)) for each in (cpu + wait, cpu))
            values = (round_, round_, position, 1, number, wall, cpu, wait, 0.0, 0.0)
            for name, value in zip(names, values, strict=True):
                samples[variant][name].append(value)
    return samples


def blocks(rounds: int) -> Columns:
    """What witnesses saw of the blocks of a process: nothing."""
    return {"block": [float(i) for i in range(rounds)], "wall_s": [1.0] * rounds}


def pairs(world: World, factors: Sequence[float], rng: random.Random, estimand: Estimand = "median") -> list[Contrast]:
    """Every variant against the baseline, as a report compares them, each by itself; a factor of 1.03 takes 3 % longer."""
    variants = {"anchor": 1.0} | {f"variant{i}": factor for i, factor in enumerate(factors)}
    made = [process(world, variants, rng) for _ in range(world.processes)]
    seen = blocks(world.rounds)
    numbers = (
        paired.numbers(
            [ProcessSamples(each[variant], None, each["anchor"], seen) for each in made],
            one_thread=True,
            estimand=estimand,
        )
        for variant in list(variants)[1:]
    )
    return [each.contrast(Rule(margin=MARGIN, estimand=estimand)) for each in numbers]


def words(found: Sequence[Contrast]) -> list[str | None]:
    """The verdict on each pair, all of them one family."""
    return [each.verdict for each in together(found)]


def covered(effect: object, truth: float) -> bool:
    """Whether an effect's 95 % interval holds the truth."""
    low, high = getattr(effect, "low", None), getattr(effect, "high", None)
    return low is not None and high is not None and low <= truth <= high
