"""Does a trend keep its promises? Planted losses, through the code that judges a run of `[trend]`.

    python benchmarks/trend.py                 # five minutes on one core
    python benchmarks/trend.py --runs 100      # does it run? the figures say little
    python benchmarks/trend.py --seeds 7,5,4 --explored 1 --sds 0.014,0.023    # for another plan, and other spreads
    python benchmarks/trend.py --seeds 12,7,5,4 --only "slope 0.02, crosses in"    # four budgets; rows whose name begins so
    python benchmarks/trend.py --bartlett      # how often Bartlett's test finds budgets that differ in their spread

Two variants of four sizes are explored with two seeds; from these follow the curvatures and the two sizes of each variant,
which are then given new seeds. Seeds share two thirds of their variance between the two sizes of a variant, and a third between
the variants; each block of the text has a difference of its own. Prints a Markdown table, kept in benchmarks/data/trend.csv and
trend_bartlett.csv (docs/method-loss.md says what they show): how often the intervals of slope, differences, crossing and
forecast hold the truth, how often a slope is significant, how often a trend is called bent, how often all budgets have one
spread, and how often a crossing is given."""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from printing import head, row

from modbench.plugins.sweeps.trend.statistics import (
    FIRST_SEEDS,
    UNEQUAL_LEVEL,
    Bend,
    Budget,
    Sizes,
    Trend,
    Tried,
    bend_of,
    curves,
    pairs,
    step,
    unequal,
)

# Parameters of widths 24 to 192 at four layers, as in the suite `trend`.
GRID_POINTS = tuple(math.log(params) for params in (50_000, 82_200, 136_000, 255_000, 495_000, 920_000, 1_900_000))
MIDDLE = 4e12
VARIANTS = ("mine", "theirs")
AHEAD = 6.4e13
# Share of the forecasts that are the narrowest.
NARROWEST = 0.13


@dataclass(frozen=True)
class World:
    """What is simulated.

    Attributes:
        slope: true change of the difference with an e-fold of the budget, in nats.
        level: true difference at 4e12 FLOPs.
        bent: true curvature of the difference over the logarithm of the budget.
        seeds: new seeds at each budget.
        budgets: training FLOPs.
        explored: how many of the budgets are explored.
        sds: deviation over seeds of the variant and of the baseline.
        bends: curvature of the variant's losses over the size, and of the baseline's.
        skew: cubic term of both, which no parabola has.
        text: standard error that the choice of text gives a difference.
        growth: power of the budget with which the best size grows; 0.5 is expected.
        largest: deviation over seeds at the largest budget, and at the forecast one, as a multiple of the others'.
    """

    slope: float = 0.0
    level: float = 0.0
    bent: float = 0.0
    seeds: tuple[int, ...] = (12, 12, 9)
    budgets: tuple[float, ...] = (1e12, 4e12, 1.6e13)
    explored: int = 3
    sds: tuple[float, float] = (0.015, 0.025)
    bends: tuple[float, float] = (0.1, 0.1)
    skew: float = 0.0
    text: float = 0.001
    growth: float = 0.5
    largest: float = 1.0

    def sd(self, variant: int, flops: float) -> float:
        """Deviation of a variant over seeds at a budget."""
        return self.sds[variant] * (self.largest if flops >= self.budgets[-1] else 1.0)

    def truth(self, flops: float) -> float:
        """The true difference at a budget, each variant at its own optimum."""
        along = math.log(flops / MIDDLE)
        return self.level + self.slope * along + self.bent * along**2

    @property
    def zero(self) -> float | None:
        """The budget among those trained at which the true difference is 0; None without one."""
        roots = np.roots([self.bent, self.slope, self.level])
        places = MIDDLE * np.exp(roots[np.isreal(roots)].real)
        return next((float(each) for each in places if self.budgets[0] <= each <= self.budgets[-1] * (1 + 1e-9)), None)


@dataclass
class Draws:
    """Losses of a simulated machine: one text, and seeds as they are asked for."""

    world: World
    rng: np.random.Generator

    def __post_init__(self) -> None:
        # Blocks of the text: half of what a block does to the difference it does at every budget.
        self._always_B = self.rng.normal(0, 1, 64)
        self._here: dict[float, np.ndarray] = {}

    def optimum(self, variant: int, flops: float) -> float:
        """Logarithm of the variant's best size, between two sizes; that of the variant is larger than the baseline's."""
        return math.log(150_000) + self.world.growth * math.log(flops / MIDDLE) + (0.45 if variant == 0 else 0.0)

    def level(self, variant: int, flops: float, place: float) -> float:
        """True loss of a variant at a size."""
        away = place - self.optimum(variant, flops)
        base = 1.45 - 0.1 * math.log(flops / MIDDLE) + (self.world.truth(flops) if variant == 0 else 0.0)
        return base + self.world.bends[variant] * away**2 + self.world.skew * away**3

    def blocks(self, flops: float) -> np.ndarray:
        """What each block of the text adds to the variant's loss."""
        if flops not in self._here:
            self._here[flops] = self.rng.normal(0, 1, 64)
        return self.world.text * 8 * (0.7 * self._always_B + math.sqrt(1 - 0.49) * self._here[flops])

    def losses(self, variant: int, flops: float, places: Sequence[float], common_S: np.ndarray) -> np.ndarray:
        """Losses of a variant's seeds at each of its sizes [S, W]."""
        own_S, rest_SW = self.rng.normal(0, 1, len(common_S)), self.rng.normal(0, 1, (len(common_S), len(places)))
        noise_SW = self.world.sd(variant, flops) * (
            np.sqrt(1 / 3) * (common_S + own_S)[:, None] + np.sqrt(1 / 3) * rest_SW
        )
        found: np.ndarray = noise_SW + np.array([self.level(variant, flops, place) for place in places])
        return found

    def pair(self, variant: int, flops: float, places: Sequence[float], losses_S2: np.ndarray) -> Sizes:
        """Two sizes with their losses, and those of each block of the text."""
        text_B = self.blocks(flops) if variant == 0 else np.zeros(64)
        blocks_SB2 = losses_S2[:, None, :] + text_B[None, :, None]
        return Sizes(places[0], places[1], blocks_SB2.mean(1), blocks_SB2)

    def chosen(
        self, variant: int, flops: float, places: Sequence[float], i: int, bend: Bend, common_S: np.ndarray
    ) -> Sizes:
        """The two sizes of a variant that are measured, moved where the first seeds say so."""
        losses_SW, toward = self.losses(variant, flops, places, common_S), 0
        while True:
            both = slice(i, i + 2)
            move = step(Sizes(places[i], places[i + 1], losses_SW[:FIRST_SEEDS, both]), bend)
            if not move or move == -toward or not 0 <= i + move < len(places) - 1:
                return self.pair(variant, flops, places[both], losses_SW[:, both])
            i, toward = i + move, move


def followed(world: World, rng: np.random.Generator) -> tuple[Trend, Draws] | None:
    """One run: explores, chooses two sizes of each variant, trains them on new seeds; None where no curve has an optimum."""
    draws, explored = Draws(world, rng), world.budgets[: world.explored]
    windows = {flops: _window(flops) for flops in world.budgets}
    tried = [
        Tried(name, flops, place, seed, draws.level(variant, flops, place) + rng.normal(0, world.sd(variant, flops)))
        for variant, name in enumerate(VARIANTS)
        for flops in explored
        for place, seed in itertools.product(windows[flops], range(2))
    ]
    fitted = curves(tried)
    mine, theirs = (bend_of(fitted[name]) for name in VARIANTS)
    chosen = [index for name in VARIANTS if (index := pairs(fitted[name], name, windows)) is not None]
    if mine is None or theirs is None or len(chosen) < 2:
        return None
    budgets = []
    for flops, seeds in zip(world.budgets, world.seeds, strict=True):
        common_S = rng.normal(0, 1, seeds)
        sides = [
            draws.chosen(variant, flops, windows[flops], index[flops], bend, common_S)
            for variant, (index, bend) in enumerate(zip(chosen, (mine, theirs), strict=True))
        ]
        budgets.append(Budget(flops, *sides))
    return Trend(budgets, mine, theirs), draws


def _window(flops: float) -> list[float]:
    """The four sizes nearest to the expected optimum."""
    expected = math.log(136_000) + 0.5 * math.log(flops / MIDDLE)
    return sorted(sorted(GRID_POINTS, key=lambda place: abs(place - expected))[:4])


def holds(low: float | None, high: float | None, truth: float) -> bool:
    """Whether an interval, open where an end is None, holds the truth."""
    return (low is None or low <= truth) and (high is None or truth <= high)


def shares(world: World, runs: int, seed: int = 0) -> dict[str, float]:
    """Simulate a world many times: the share of the runs of which each is true, the mean half width of the slope."""
    rng, found = np.random.default_rng(seed), list[dict[str, float]]()
    for _ in range(runs):
        if (one := followed(world, rng)) is not None:
            found.append(judged(world, *one, rng))
    known = {key: [each[key] for each in found if not math.isnan(each[key])] for key in found[0]}
    made = {key: float(np.mean(each)) if each else math.nan for key, each in known.items()}
    ahead = sorted((each["width"], each["forecast"]) for each in found if not math.isnan(each["forecast"]))
    narrow = [held for _, held in ahead[: math.ceil(NARROWEST * len(ahead))]]
    return made | {"narrowest": float(np.mean(narrow))}


def judged(world: World, trend: Trend, draws: Draws, rng: np.random.Generator) -> dict[str, float]:
    """What is true of one run; NaN for what it does not have."""
    slope, crossing = trend.slope, trend.crossing()
    assert slope is not None
    assert slope.low is not None
    assert slope.high is not None
    truths = [world.truth(each) for each in world.budgets]
    made: dict[str, float] = {
        "slope": holds(slope.low, slope.high, float(np.polyfit(np.log(world.budgets), truths, 1)[0])),
        "differences": float(
            np.mean([holds(one.low, one.high, each) for one, each in zip(trend.differences, truths, strict=True)])
        ),
        "told": not holds(slope.low, slope.high, 0.0),
        "half": (slope.high - slope.low) / 2,
        "bent": trend.is_straight is False,
        "one spread": trend.has_one_spread,
        "given": crossing.outcome in {"both ends", "one end"},
        **dict.fromkeys(("zero", "right", "forecast", "width"), math.nan),
    }
    zero = world.zero
    if zero is not None:
        line = trend.at(zero)
        assert line is not None
        made["zero"] = holds(line.low, line.high, 0.0)
    if made["given"]:
        made["right"] = zero is not None and holds(crossing.low, crossing.high, zero)  # none: there is nothing to hold
    ahead = None if made["bent"] else trend.forecast(AHEAD, 4)
    if ahead is not None and ahead.low is not None and ahead.high is not None:
        common_S, sides = rng.normal(0, 1, 4), []
        for variant in (0, 1):  # one size on each side of the optimum
            places = [draws.optimum(variant, AHEAD) + away for away in (-0.3, 0.3)]
            sides.append(draws.pair(variant, AHEAD, places, draws.losses(variant, AHEAD, places, common_S)))
        then = Trend([Budget(AHEAD, *sides)], *trend.bends).differences[0].value
        made |= {"forecast": holds(ahead.low, ahead.high, then), "width": ahead.high - ahead.low}
    return made


WORLDS = {
    "as planned, slope 0": World(),
    "slope 0.01": World(slope=0.01),
    "slope 0.02, crosses in the middle": World(slope=0.02),
    "slope 0.02, crosses at 1.6e13": World(slope=0.02, level=-0.0277),
    "variants curve differently (0.08, 0.12)": World(slope=0.02, bends=(0.08, 0.12)),
    "curves are skewed": World(slope=0.02, skew=0.02),
    "text counts more (0.003)": World(slope=0.02, text=0.003),
    "bent by 0.01": World(slope=0.02, bent=0.01),
    "explored at the smallest budget alone": World(slope=0.02, explored=1),
    "best sizes grow faster than expected": World(slope=0.02, explored=2, growth=0.8),
    "never pays": World(slope=0.02, level=0.0327),  # +0.005 at the smallest budget
    "barely pays": World(slope=0.02, level=0.0227),  # -0.005 there
    "seeds spread half as much at the largest budget": World(slope=0.02, largest=0.5),
    "a fifth as much": World(slope=0.02, largest=0.2),
    "twice as much": World(slope=0.02, largest=2.0),
}
COLUMNS = {
    "slope": "slope held",
    "differences": "differences held",
    "zero": "crossing held",
    "forecast": "forecast held",
    "narrowest": f"narrowest {NARROWEST:.0%} of forecasts",
    "told": "significant",
    "half": "half width",
    "bent": "called bent",
    "one spread": "one spread",
    "given": "crossing given",
    "right": "and holds the true one",
}


def shown(found: Mapping[str, float]) -> list[str]:
    """The cells of a row of the table."""
    return ["–" if math.isnan(found[key]) else f"{found[key]:.{4 if key == 'half' else 3}f}" for key in COLUMNS]


def bartlett(runs: int) -> None:
    """Print how often Bartlett's test finds that one budget's standard deviation is another than those of the others."""
    ratios = (1.0, 2.0, 3.0, 5.0)
    head("seeds", "which has another", *(f"ratio {each:g}" for each in ratios))
    rng = np.random.default_rng(0)
    for seeds in ((12, 7, 5, 4), (7, 5, 4), (12, 12, 9)):
        freedom_K = np.array(seeds) - 1.0
        for where, at, power in (
            ("smallest, a lower one", 0, -1),
            ("largest, a lower one", -1, -1),
            ("largest, a higher one", -1, 1),
        ):
            found = []
            for ratio in ratios:
                sd_K = np.ones(len(seeds))
                sd_K[at] = ratio**power
                variances_NK = sd_K**2 * rng.chisquare(freedom_K, (runs, len(seeds))) / freedom_K
                found.append(np.mean([unequal(row_K, freedom_K) < UNEQUAL_LEVEL for row_K in variances_NK]))
            row(", ".join(map(str, seeds)), where, *(f"{each:.3f}" for each in found))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seeds", default="12,12,9", help="new seeds at each budget, of which 1.6e13 is the last")
    parser.add_argument("--sds", default="0.015,0.025", help="deviation over seeds of the variant and of the baseline")
    parser.add_argument("--explored", type=int, help="how many budgets are explored, in all rows")
    parser.add_argument("--only", default="", help="rows whose name begins so")
    parser.add_argument(
        "--bartlett", action="store_true", help="how often the test of equal spreads finds unequal ones"
    )
    given = parser.parse_args()
    print(f"{given.runs:,} runs in each cell; the error of 0.95 is {math.sqrt(0.95 * 0.05 / given.runs):.3f}", end="")
    if given.bartlett:
        print()
        bartlett(given.runs)
        return
    print(f", of 0.86 of the narrowest forecasts {math.sqrt(0.86 * 0.14 / (NARROWEST * given.runs)):.3f}")
    seeds = tuple(map(int, given.seeds.split(",")))
    sds = tuple(map(float, given.sds.split(",")))
    budgets = tuple(1.6e13 / 4**i for i in reversed(range(len(seeds))))
    head(f"{given.seeds} seeds", *COLUMNS.values())
    for name, world in WORLDS.items():
        if name.startswith(given.only):
            asked = replace(
                world, seeds=seeds, budgets=budgets, sds=(sds[0], sds[1]), explored=given.explored or world.explored
            )
            row(name, *shown(shares(asked, given.runs)))


if __name__ == "__main__":
    main()
