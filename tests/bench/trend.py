"""Does a trend keep its promises? Planted losses, through the code that judges a run of `[trend]`.

    python tests/bench/trend.py                 # four minutes on one core
    python tests/bench/trend.py --runs 100      # does it run? the figures say little
    python tests/bench/trend.py --seeds 10,4,4 --sds 0.02,0.03    # for another plan, and other spreads

Two arms of four sizes are explored with two seeds; from these follow the curvatures and the two sizes of each arm, which are then
given fresh seeds. Seeds share two thirds of their variance between the two sizes of an arm, and a third between the arms; each
block of the text has a difference of its own. Prints a Markdown table for docs/method-trend.md: how often the intervals of slope,
crossing and forecast hold the truth, how often a slope is told from 0, and how often a trend is called bent.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from modbench.harness.stats.trend import FIRST_SEEDS, Bend, Budget, Sizes, Trend, Tried, bend_of, curves, pairs, step

# Parameters of widths 24 to 192 at four layers, as in the suite `trend`.
PLACES = tuple(math.log(params) for params in (50_000, 82_200, 136_000, 255_000, 495_000, 920_000, 1_900_000))
MIDDLE = 4e12
ARMS = ("mine", "theirs")


@dataclass(frozen=True)
class World:
    """What is simulated.

    Attributes:
        slope: true change of the difference with an e-fold of the budget, in nats.
        level: true difference at 4e12 FLOPs.
        bent: true curvature of the difference over the logarithm of the budget.
        seeds: fresh seeds at each budget.
        budgets: training FLOPs.
        explored: how many of the budgets are explored.
        sds: deviation over seeds of the arm and of the anchor.
        bends: curvature of the arm's losses over the size, and of the anchor's.
        skew: cubic term of both, which no parabola has.
        text: standard error that the choice of text gives a difference.
        growth: power of the budget with which the best size grows; 0.5 is expected.
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

    def truth(self, flops: float) -> float:
        """The true difference at a budget, each arm at its own optimum."""
        along = math.log(flops / MIDDLE)
        return self.level + self.slope * along + self.bent * along**2


@dataclass
class Draws:
    """Losses of a simulated machine: one text, and seeds as they are asked for."""

    world: World
    rng: np.random.Generator

    def __post_init__(self) -> None:
        # Blocks of the text: half of what a block does to the difference it does at every budget.
        self._always_B = self.rng.normal(0, 1, 64)
        self._here: dict[float, np.ndarray] = {}

    def optimum(self, arm: int, flops: float) -> float:
        """Logarithm of the arm's best size, between two sizes; that of the arm is larger than the anchor's."""
        return math.log(150_000) + self.world.growth * math.log(flops / MIDDLE) + (0.45 if arm == 0 else 0.0)

    def level(self, arm: int, flops: float, place: float) -> float:
        """True loss of an arm at a size."""
        away = place - self.optimum(arm, flops)
        base = 1.45 - 0.1 * math.log(flops / MIDDLE) + (self.world.truth(flops) if arm == 0 else 0.0)
        return base + self.world.bends[arm] * away**2 + self.world.skew * away**3

    def blocks(self, flops: float) -> np.ndarray:
        """What each block of the text adds to the arm's loss."""
        if flops not in self._here:
            self._here[flops] = self.rng.normal(0, 1, 64)
        return self.world.text * 8 * (0.7 * self._always_B + math.sqrt(1 - 0.49) * self._here[flops])

    def losses(self, arm: int, flops: float, places: Sequence[float], common_S: np.ndarray) -> np.ndarray:
        """Losses of an arm's seeds at each of its sizes [S, W]."""
        own_S, rest_SW = self.rng.normal(0, 1, len(common_S)), self.rng.normal(0, 1, (len(common_S), len(places)))
        noise_SW = self.world.sds[arm] * (np.sqrt(1 / 3) * (common_S + own_S)[:, None] + np.sqrt(1 / 3) * rest_SW)
        found: np.ndarray = noise_SW + np.array([self.level(arm, flops, place) for place in places])
        return found

    def pair(self, arm: int, flops: float, places: Sequence[float], losses_S2: np.ndarray) -> Sizes:
        """Two sizes with their losses, and those of each block of the text."""
        text_B = self.blocks(flops) if arm == 0 else np.zeros(64)
        blocks_SB2 = losses_S2[:, None, :] + text_B[None, :, None]
        return Sizes(places[0], places[1], blocks_SB2.mean(1), blocks_SB2)

    def chosen(
        self, arm: int, flops: float, places: Sequence[float], i: int, bend: Bend, common_S: np.ndarray
    ) -> Sizes:
        """The two sizes of an arm that are measured, moved where the first seeds say so."""
        losses_SW, toward = self.losses(arm, flops, places, common_S), 0
        while True:
            both = slice(i, i + 2)
            move = step(Sizes(places[i], places[i + 1], losses_SW[:FIRST_SEEDS, both]), bend)
            if not move or move == -toward or not 0 <= i + move < len(places) - 1:
                return self.pair(arm, flops, places[both], losses_SW[:, both])
            i, toward = i + move, move


def followed(world: World, rng: np.random.Generator) -> tuple[Trend, Draws] | None:
    """One run: explores, chooses two sizes of each arm, trains them on fresh seeds; None where no curve has an optimum."""
    draws, explored = Draws(world, rng), world.budgets[: world.explored]
    windows = {flops: _window(flops) for flops in world.budgets}
    tried = [
        Tried(name, flops, place, seed, draws.level(arm, flops, place) + rng.normal(0, world.sds[arm]))
        for arm, name in enumerate(ARMS)
        for flops in explored
        for place, seed in itertools.product(windows[flops], range(2))
    ]
    fitted = curves(tried)
    mine, theirs = (bend_of(fitted[name]) for name in ARMS)
    chosen = [index for name in ARMS if (index := pairs(fitted[name], name, windows)) is not None]
    if mine is None or theirs is None or len(chosen) < 2:
        return None
    budgets = []
    for flops, seeds in zip(world.budgets, world.seeds, strict=True):
        common_S = rng.normal(0, 1, seeds)
        sides = [
            draws.chosen(arm, flops, windows[flops], index[flops], bend, common_S)
            for arm, (index, bend) in enumerate(zip(chosen, (mine, theirs), strict=True))
        ]
        budgets.append(Budget(flops, *sides))
    return Trend(budgets, mine, theirs), draws


def _window(flops: float) -> list[float]:
    """The four sizes nearest to the expected optimum."""
    expected = math.log(136_000) + 0.5 * math.log(flops / MIDDLE)
    return sorted(sorted(PLACES, key=lambda place: abs(place - expected))[:4])


def holds(low: float | None, high: float | None, truth: float) -> bool:
    """Whether an interval, open where an end is None, holds the truth."""
    return (low is None or low <= truth) and (high is None or truth <= high)


def shares(world: World, runs: int, seed: int = 0) -> dict[str, float]:
    """Simulate a world many times."""
    rng, made = np.random.default_rng(seed), 0
    count = dict.fromkeys(("slope", "told", "zero", "bent", "forecast", "both ends", "half"), 0.0)
    for _ in range(runs):
        found = followed(world, rng)
        if found is None:
            continue
        trend, draws = found
        made += 1
        slope = trend.slope
        assert slope is not None
        assert slope.low is not None
        assert slope.high is not None
        logs = np.log(world.budgets)
        truth = float(np.polyfit(logs, [world.truth(each) for each in world.budgets], 1)[0])
        count["slope"] += holds(slope.low, slope.high, truth)
        count["told"] += not holds(slope.low, slope.high, 0.0)
        count["half"] += (slope.high - slope.low) / 2
        count["bent"] += trend.is_straight is False
        if world.slope and not world.bent:
            zero = trend.at(MIDDLE * math.exp(-world.level / world.slope))
            assert zero is not None
            count["zero"] += holds(zero.low, zero.high, 0.0)
        crossing = trend.crossing()
        count["both ends"] += crossing.outcome == "both ends"
        ahead = trend.forecast(6.4e13, 4)
        assert ahead is not None
        common_S, sides = rng.normal(0, 1, 4), []
        for arm in (0, 1):  # one size on each side of the optimum
            places = [draws.optimum(arm, 6.4e13) + away for away in (-0.3, 0.3)]
            sides.append(draws.pair(arm, 6.4e13, places, draws.losses(arm, 6.4e13, places, common_S)))
        then = Trend([Budget(6.4e13, *sides)], *trend.bends).differences[0].value
        count["forecast"] += holds(ahead.low, ahead.high, then)
    return {key: value / max(1, made) for key, value in count.items()} | {"made": made / runs}


WORLDS = {
    "as planned, slope 0": World(),
    "slope 0.01": World(slope=0.01),
    "slope 0.02, crosses in the middle": World(slope=0.02),
    "slope 0.02, crosses at 1.6e13": World(slope=0.02, level=-0.0277),
    "arms curve differently (0.08, 0.12)": World(slope=0.02, bends=(0.08, 0.12)),
    "curves are skewed": World(slope=0.02, skew=0.02),
    "text counts more (0.003)": World(slope=0.02, text=0.003),
    "bent by 0.01": World(slope=0.02, bent=0.01),
    "explored at the smallest budget alone": World(slope=0.02, explored=1),
    "best sizes grow faster than expected": World(slope=0.02, explored=2, growth=0.8),
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seeds", default="12,12,9", help="fresh seeds at each budget")
    parser.add_argument("--sds", default="0.015,0.025", help="deviation over seeds of the arm and of the anchor")
    given = parser.parse_args()
    seeds = tuple(map(int, given.seeds.split(",")))
    sds = tuple(map(float, given.sds.split(",")))
    columns = ("slope held", "crossing held", "forecast held", "told from 0", "half width", "called bent", "both ends")
    print(f"| {given.seeds} seeds | {' | '.join(columns)} |")
    print("| --- " * 8 + "|")
    for name, world in WORLDS.items():
        found = shares(replace(world, seeds=seeds, sds=(sds[0], sds[1])), given.runs)
        held = "–" if not world.slope or world.bent else f"{found['zero']:.3f}"  # no line crosses
        cells = [
            f"{found['slope']:.3f}",
            held,
            f"{found['forecast']:.3f}",
            f"{found['told']:.3f}",
            f"{found['half']:.4f}",
        ]
        print(f"| {name} | {' | '.join(cells)} | {found['bent']:.3f} | {found['both ends']:.3f} |", flush=True)


if __name__ == "__main__":
    main()
