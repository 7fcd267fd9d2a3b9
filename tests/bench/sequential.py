"""Does a confirmation that looks several times keep its promises? Planted losses, through the statistics of a report.

    python tests/bench/sequential.py                # four minutes on one core
    python tests/bench/sequential.py --runs 400     # does it run? the figures say little
    python tests/bench/sequential.py --asks 0.019 0.011 0.0219   # how many seeds two spreads ask for, at a margin and 2/3 of it

Prints Markdown tables for docs/method-confirm.md: how often two identical arms are called different, and how often that happens
at 5 % at every look; power at the planned difference, seeds on average, how often the printed interval holds the truth, how often
a difference as large as the margin is called equivalent; how often the difference of the means is too large;
and what becomes of the power if a small pilot plans the seeds (mean power; share of the plans that have 80 %; mean number of
seeds), and how often as many seeds decide as an undecided one asks for.
`joint_fit.py` does the same for the fit of a sweep.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median

import numpy as np
from scipy import stats

from modbench.harness.stats.group_sequential import Looked, fractions_of, look, schedule
from modbench.harness.stats.seeds_needed import inflation, prospect, seeds_needed, seeds_to_decide

POWER = 0.8


@dataclass(frozen=True)
class World:
    """What is simulated.

    Attributes:
        numbers: seeds of each arm at each look.
        difference: true difference of the means.
        sds: standard deviations of the arms over seeds; of the difference by seed, if paired.
        paired: whether pairs are compared; their losses then share an offset of the seed.
        margin: of no interest.
        tails: degrees of freedom of Student's t that the noise follows; 0: normal.
    """

    numbers: tuple[int, ...]
    difference: float = 0.0
    sds: tuple[float, float] = (1.0, 1.0)
    paired: bool = False
    margin: float | None = None
    tails: int = 0


@dataclass(frozen=True)
class Shares:
    """What came of many runs.

    Attributes:
        apart: share whose interval excluded 0 when it stopped.
        right: share that did so on the right side.
        equivalent: share called equivalent.
        decided: share with a verdict.
        held: share of the printed intervals that hold the truth.
        above: share of the runs that found a difference above the truth.
        middle: median of the differences.
        seeds: mean number of seeds of each arm.
    """

    apart: float
    right: float
    equivalent: float
    decided: float
    held: float
    above: float
    middle: float
    seeds: float


def simulated(world: World, rng: np.random.Generator) -> Looked:
    """One confirmation: looks until it stops."""
    most = world.numbers[-1]
    noise = rng.standard_t(world.tails, (2, most)) if world.tails else rng.standard_normal((2, most))
    if world.tails:
        noise *= math.sqrt((world.tails - 2) / world.tails)
    if world.paired:
        theirs = rng.normal(0, 3, most)
        mine = theirs + world.difference + world.sds[0] * noise[0]
    else:
        mine, theirs = world.difference + world.sds[0] * noise[0], world.sds[1] * noise[1]
    fractions = fractions_of(world.numbers)
    for number, n in enumerate(world.numbers, 1):
        found = look(mine[:n].tolist(), theirs[:n].tolist(), number, fractions, world.margin, paired=world.paired)
        if found.stop:
            break
    return found


def shares(world: World, runs: int, seed: int = 0) -> Shares:
    """Simulate many confirmations."""
    rng = np.random.default_rng(seed)
    made = [simulated(world, rng) for _ in range(runs)]
    ends = [(each.low, each.high) for each in made if each.low is not None and each.high is not None]
    right = [high < 0 if world.difference < 0 else low > 0 for low, high in ends]
    held = [low <= world.difference <= high for low, high in ends]
    return Shares(
        fmean(each.excludes_zero for each in made),
        fmean(right),
        fmean(each.verdict == "equivalent" for each in made),
        fmean(each.verdict != "undecided" for each in made),
        fmean(held),
        fmean(each.difference > world.difference for each in made),
        median(each.difference for each in made),
        fmean(each.seeds[0] for each in made),
    )


def peeked(numbers: Sequence[int], runs: int, seed: int = 0) -> float:
    """How often two identical arms are called different if every look may use 5 %."""
    rng = np.random.default_rng(seed)
    hits = np.zeros(runs, bool)
    mine, theirs = rng.standard_normal((2, runs, numbers[-1]))
    for n in numbers:
        hits |= stats.ttest_ind(mine[:, :n], theirs[:, :n], axis=1, equal_var=False).pvalue < 0.05
    return float(hits.mean())


def errors(runs: int) -> None:
    """Two identical arms: share called different, and share of intervals that hold 0."""
    firsts = (4, 5, 6, 8)
    print(f"| called different at 5 %, by seeds at the first of four looks | {' | '.join(map(str, firsts))} |")
    print("| --- |", " --- |" * len(firsts))
    rows = [
        ("two arms of equal spread", World((1,))),
        ("one arm with twice the spread", World((1,), sds=(2.0, 1.0))),
        ("one arm with five times the spread", World((1,), sds=(5.0, 1.0))),
        ("pairs by seed", World((1,), paired=True)),
        ("heavy tails (t with 4 degrees of freedom)", World((1,), tails=4)),
    ]
    for name, world in rows:
        cells = [f"{shares(replace(world, numbers=schedule(4 * n)), runs).apart:.3f}" for n in firsts]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    cells = [f"{peeked(schedule(4 * n), runs):.3f}" for n in firsts]
    print(f"| 5 % at every look instead | {' | '.join(cells)} |", flush=True)


def powers(runs: int) -> None:
    """Planned comparisons: power at the margin, and what else the plan does."""
    columns = ("told from 0 (predicted)", "seeds on average", "interval holds it", "`equivalent` at the margin")
    print(f"| difference told apart with 80 % power | seeds at the looks | {' | '.join(columns)} | decided if equal |")
    print("| --- |" + " --- |" * 6)
    for sds, difference, paired in (
        ((1.0, 1.0), 1.5, False),
        ((1.0, 1.0), 1.0, False),
        ((1.0, 1.0), 0.7, False),
        ((2.0, 1.0), 1.5, False),
        ((1.0, 1.0), 0.8, True),
    ):
        total = seeds_needed(*sds, difference, paired_sd=sds[0] if paired else None)
        assert total is not None
        world = World(schedule(total), difference, sds, paired=paired)
        told = shares(world, runs)
        at_margin, equal = (shares(replace(world, margin=difference, difference=d), runs) for d in (difference, 0.0))
        predicted = prospect(world.numbers, difference, *sds, paired_sd=sds[0] if paired else None)
        spread = "of the pairs" if paired else f"{sds[0]:g} and {sds[1]:g}"
        cells = (
            f"{difference:g} (deviation {spread})",
            ", ".join(map(str, world.numbers)),
            f"{told.right:.3f} ({predicted.power:.3f})",
            f"{told.seeds:.1f} ({predicted.seeds:.1f})",
            *(f"{each:.3f}" for each in (told.held, at_margin.equivalent, equal.decided)),
        )
        print(f"| {' | '.join(cells)} |", flush=True)


def estimates(runs: int) -> None:
    """Where looking stops early, the difference of the means is too large in most runs."""
    print("| true difference, seeds at the looks | found: too large in, median |\n| --- | --- |")
    for total, difference in ((6, 1.6), (18, 0.95), (32, 0.7), (32, 1.0)):
        told = shares(World(schedule(total), difference), runs)
        cell = f"{told.above:.3f}, {told.middle:.3f}"
        print(f"| {difference:g}; {', '.join(map(str, schedule(total)))} | {cell} |", flush=True)


def pilots(bins: int = 30) -> None:
    """A pilot plans the seeds: mean power over pilots, share of the plans that reach it, seeds planned, by rule.

    Pilots are the middles of bins of equal probability, so that nothing is sampled.
    """
    difference, freedoms = 0.9, (2, 4, 6, 12, 20)
    known = seeds_needed(1, 1, difference)
    rules: dict[str, Callable[[int], float]] = {
        "the estimate itself": lambda _: 1.0,
        "raised so that the mean power is 80 %": inflation,
        "its upper 80 % confidence limit": lambda freedom: math.sqrt(freedom / stats.chi2.ppf(0.2, freedom)),
    }
    print(f"| deviation that plans (known: {known} seeds) | {' | '.join(f'pilot of {f}' for f in freedoms)} |")
    print("| --- |", " --- |" * len(freedoms))
    for name, factor in rules.items():
        cells = []
        for freedom in freedoms:
            reached, seeds = [], []
            for quantile in (np.arange(bins) + 0.5) / bins:
                sd = factor(freedom) * math.sqrt(stats.chi2.ppf(quantile, freedom) / freedom)
                total = seeds_needed(sd, sd, difference)
                assert total is not None
                reached.append(prospect(schedule(total), difference, 1.0, 1.0).power)
                seeds.append(total)
            enough = fmean(each >= POWER - 0.005 for each in reached)
            cells.append(f"{fmean(reached):.2f}; {enough:.2f}; {fmean(seeds):.0f}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def advice(runs: int) -> None:
    """As many seeds as would decide what stayed undecided, if all is as estimated: share decided, seeds."""
    shares_of_margin = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
    print(f"| margin in deviations | {' | '.join(f'{each:g} margins apart' for each in shares_of_margin)} |")
    print("| --- |", " --- |" * len(shares_of_margin))
    for margin in (0.7, 1.0, 1.8):
        cells = []
        for share in shares_of_margin:
            total = seeds_to_decide(share * margin, 1, 1, margin)
            assert total is not None
            found = shares(World(schedule(total), share * margin, margin=margin), runs)
            cells.append(f"{found.decided:.2f}; {total}")
        print(f"| {margin:g} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20000)
    parser.add_argument(
        "--table", choices=("errors", "powers", "estimates", "pilots", "advice"), help="print this one alone"
    )
    parser.add_argument(
        "--asks", nargs=3, type=float, metavar=("SD", "SD", "MARGIN"), help="print only how many seeds these ask for"
    )
    asked = parser.parse_args()
    if asked.asks:
        mine, theirs, margin = asked.asks
        for share in (1.0, 2 / 3):
            print(
                f"{seeds_needed(mine, theirs, share * margin)} seeds of each arm for {share * margin:.4f}, 80 % power"
            )
        return
    tables = {
        "errors": errors,
        "powers": powers,
        "estimates": estimates,
        "pilots": lambda _: pilots(),
        "advice": advice,
    }
    for name, table in tables.items():
        if asked.table in (None, name):
            table(asked.runs)
            print()


if __name__ == "__main__":
    main()
