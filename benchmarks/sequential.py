"""Does a confirmation that looks several times keep its promises? Planted losses, judged by the rule of a report.

    python benchmarks/sequential.py                # a minute on one core
    python benchmarks/sequential.py --runs 400     # does it run? the figures say little
    python benchmarks/sequential.py --asks 0.019 0.011 0.0219   # how many seeds two spreads ask for, at a margin and 2/3 of it

Prints Markdown tables, kept in benchmarks/data/sequential_*.csv (docs/method-loss.md says what they show): how often two
identical variants are called different, and how often that happens at 5 % at every look; power at the planned difference, seeds
on average, how often the printed interval holds the truth, how often a difference as large as the margin is called equivalent;
how often the difference of the means is too large; and what becomes of the power if a small pilot plans the seeds (mean power;
share of the plans that have 80 %; mean number of seeds), and how often as many seeds decide as an inconclusive one asks for.
`joint_fit.py` does the same for the fit of a sweep.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean

import numpy as np
from printing import head, row
from scipy import special, stats

from modbench.harness.stats.effects import POWER, welch_freedom
from modbench.harness.stats.interim import ANALYSES, LEVEL, analysis_at, schedule
from modbench.harness.stats.power import MOST_SEEDS, Asked, Ends, above_0, fewest, prospect
from modbench.harness.stats.verdicts import Rule

# Pilots are the middles of so many bins of equal probability, so that nothing is sampled.
BINS = 30


@dataclass(frozen=True)
class World:
    """What is simulated.

    Attributes:
        numbers: seeds of each variant at each look.
        difference: true difference of the means.
        sds: standard deviations of the variants over seeds; of the difference by seed, if paired.
        paired: whether pairs are compared; their losses then share an offset of the seed.
        margin: a difference up to this one does not matter.
        tails: degrees of freedom of Student's t that the noise follows; 0: normal.
    """

    numbers: tuple[int, ...]
    difference: float = 0.0
    sds: tuple[float, float] = (1.0, 1.0)
    paired: bool = False
    margin: float = 0.0
    tails: int = 0

    @property
    def spread(self) -> tuple[float, float]:
        """Standard deviation of the difference of two seeds, and the degrees of freedom that each seed adds."""
        if self.paired:
            return self.sds[0], 1.0
        return math.hypot(*self.sds), welch_freedom([sd**2 for sd in self.sds], (1, 1))

    def seeds(self, asked: Asked) -> int:
        """Seeds of each variant that decide a question about the difference with 80 % power, in four analyses."""
        sd, freedom = self.spread
        found = fewest(asked, abs(self.difference), sd, freedom=freedom, analyses=ANALYSES, most=MOST_SEEDS)
        assert found is not None
        return found


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
        seeds: mean number of seeds of each variant.
    """

    apart: float
    right: float
    equivalent: float
    decided: float
    held: float
    above: float
    middle: float
    seeds: float


def shares(world: World, runs: int, seed: int = 0) -> Shares:
    """Simulate many confirmations, each of which is looked at until it stops."""
    rng, shape = np.random.default_rng(seed), (2, runs, world.numbers[-1])
    noise_SRN = rng.standard_t(world.tails, shape) if world.tails else rng.standard_normal(shape)
    if world.tails:
        noise_SRN *= math.sqrt((world.tails - 2) / world.tails)
    sides_SRN = noise_SRN * np.reshape(world.sds, (2, 1, 1))
    sides_SRN[0] += world.difference
    samples_SRN = sides_SRN[:1] if world.paired else sides_SRN
    rule = Rule("loss", world.margin)
    found_VR, seeds_R, going_R = np.zeros((5, runs)), np.zeros(runs), np.ones(runs, bool)
    for number, n in enumerate(world.numbers, 1):
        means_SR, parts_SR = samples_SRN[..., :n].mean(-1), samples_SRN[..., :n].var(-1, ddof=1) / n
        value_R = means_SR[0] - means_SR[1:].sum(0)
        # Welch & Satterthwaite; of pairs there is one sample.
        freedom_R = (n - 1) * parts_SR.sum(0) ** 2 / (parts_SR**2).sum(0)
        wide_R, narrow_R = (
            special.stdtrit(freedom_R, 1 - analysis_at(number, world.numbers).level_at(level) / 2)
            * np.sqrt(parts_SR.sum(0))
            for level in (LEVEL, 2 * LEVEL)
        )
        ends = Ends(value_R - wide_R, value_R + wide_R, value_R - narrow_R, value_R + narrow_R)
        found_VR = np.where(going_R, [value_R, *ends], found_VR)
        seeds_R[going_R] = n
        going_R &= ~rule.decides(ends)
    value_R, *found = found_VR
    ends = Ends(*found)
    place = rule.lies(ends)
    right_R = ends.high < 0 if world.difference < 0 else ends.low > 0
    held_R = (ends.low <= world.difference) & (world.difference <= ends.high)
    apart, right, equivalent, decided, held, above = (
        float(np.mean(each_R))
        for each_R in (place.off_0, right_R, place.inside, rule.decides(ends), held_R, value_R > world.difference)
    )
    return Shares(
        apart, right, equivalent, decided, held, above, middle=float(np.median(value_R)), seeds=float(seeds_R.mean())
    )


def peeked(numbers: Sequence[int], runs: int, seed: int = 0) -> float:
    """How often two identical variants are called different if every look may use 5 %."""
    rng = np.random.default_rng(seed)
    hits = np.zeros(runs, bool)
    mine, theirs = rng.standard_normal((2, runs, numbers[-1]))
    for n in numbers:
        hits |= stats.ttest_ind(mine[:, :n], theirs[:, :n], axis=1, equal_var=False).pvalue < 0.05
    return float(hits.mean())


def errors(runs: int) -> None:
    """Two identical variants: share called different, and share of intervals that hold 0."""
    firsts = (4, 5, 6, 8)
    head("called different at 5 %, by seeds at the first of four looks", *firsts)
    rows = [
        ("two variants of equal spread", World((1,))),
        ("one variant with twice the spread", World((1,), sds=(2.0, 1.0))),
        ("one variant with five times the spread", World((1,), sds=(5.0, 1.0))),
        ("pairs by seed", World((1,), paired=True)),
        ("heavy tails (t with 4 degrees of freedom)", World((1,), tails=4)),
    ]
    for name, world in rows:
        row(name, *(f"{shares(replace(world, numbers=schedule(4 * n)), runs).apart:.3f}" for n in firsts))
    row("5 % at every look instead", *(f"{peeked(schedule(4 * n), runs):.3f}" for n in firsts))


def powers(runs: int) -> None:
    """Planned comparisons: power at the margin, and what else the plan does."""
    columns = "significant (predicted)", "seeds on average", "interval holds it", "`equivalent` at the margin"
    head("difference found with 80 % power", "seeds at each analysis", *columns, "decided if equal")
    for sds, difference, paired in (
        ((1.0, 1.0), 1.5, False),
        ((1.0, 1.0), 1.0, False),
        ((1.0, 1.0), 0.7, False),
        ((2.0, 1.0), 1.5, False),
        ((1.0, 1.0), 0.8, True),
    ):
        asked = World((1,), difference, sds, paired=paired)
        world = replace(asked, numbers=schedule(asked.seeds(above_0)))
        told = shares(world, runs)
        at_margin, equal = (shares(replace(world, margin=difference, difference=d), runs) for d in (difference, 0.0))
        sd, freedom = world.spread
        predicted = prospect(above_0, difference, sd, world.numbers, freedom)
        spread = "of the pairs" if paired else f"{sds[0]:g} and {sds[1]:g}"
        row(
            f"{difference:g} (deviation {spread})",
            ", ".join(map(str, world.numbers)),
            f"{told.right:.3f} ({predicted.power:.3f})",
            f"{told.seeds:.1f} ({predicted.n:.1f})",
            *(f"{each:.3f}" for each in (told.held, at_margin.equivalent, equal.decided)),
        )


def estimates(runs: int) -> None:
    """Where looking stops early, the difference of the means is too large in most runs."""
    head("true difference, seeds at the looks", "found: too large in, median")
    for total, difference in ((6, 1.6), (18, 0.95), (32, 0.7), (32, 1.0)):
        told = shares(World(schedule(total), difference), runs)
        row(f"{difference:g}; {', '.join(map(str, schedule(total)))}", f"{told.above:.3f}, {told.middle:.3f}")


def pilots(_runs: int) -> None:
    """A pilot plans the seeds: mean power over pilots, share of the plans that reach it, seeds planned, by rule."""
    from modbench.plugins.sweeps.confirmation.rule import inflation  # the core's tests import this file

    difference, freedoms = 0.9, (2, 4, 6, 12, 20)
    known = World((1,), difference).seeds(above_0)
    rules: dict[str, Callable[[int], float]] = {
        "the estimate itself": lambda _: 1.0,
        "raised so that the mean power is 80 %": partial(inflation, power=POWER),
        "its upper 80 % confidence limit": lambda freedom: math.sqrt(freedom / stats.chi2.ppf(0.2, freedom)),
    }
    head(f"deviation that plans (known: {known} seeds)", *(f"pilot of {freedom}" for freedom in freedoms))
    for name, factor in rules.items():
        cells = []
        for freedom in freedoms:
            reached, seeds = [], []
            for quantile in (np.arange(BINS) + 0.5) / BINS:
                sd = factor(freedom) * math.sqrt(stats.chi2.ppf(quantile, freedom) / freedom)
                total = World((1,), difference, (sd, sd)).seeds(above_0)
                reached.append(prospect(above_0, difference, math.sqrt(2), schedule(total), 2).power)
                seeds.append(total)
            enough = fmean(each >= POWER - 0.005 for each in reached)
            cells.append(f"{fmean(reached):.2f}; {enough:.2f}; {fmean(seeds):.0f}")
        row(name, *cells)


def advice(runs: int) -> None:
    """As many seeds as would decide what stayed inconclusive, if all is as estimated: share decided, seeds."""
    shares_of_margin = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
    head("margin in deviations", *(f"{each:g} margins apart" for each in shares_of_margin))
    for margin in (0.7, 1.0, 1.8):
        cells = []
        for share in shares_of_margin:
            world = World((1,), share * margin, margin=margin)
            total = world.seeds(Rule("loss", margin).decides)
            found = shares(replace(world, numbers=schedule(total)), runs)
            cells.append(f"{found.decided:.2f}; {total}")
        row(f"{margin:g}", *cells)


TABLES: dict[str, Callable[[int], None]] = {
    "errors": errors,
    "powers": powers,
    "estimates": estimates,
    "pilots": pilots,
    "advice": advice,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20000)
    parser.add_argument("--table", choices=TABLES, help="print this one alone")
    parser.add_argument(
        "--asks", nargs=3, type=float, metavar=("SD", "SD", "MARGIN"), help="print only how many seeds these ask for"
    )
    asked = parser.parse_args()
    if asked.asks:
        mine, theirs, margin = asked.asks
        for difference in (margin, 2 / 3 * margin):
            seeds = World((1,), difference, (mine, theirs)).seeds(above_0)
            print(f"{seeds} seeds of each variant for {difference:.4f}, 80 % power")
        return
    for name in [asked.table] if asked.table else TABLES:
        TABLES[name](asked.runs)
        print()


if __name__ == "__main__":
    main()
