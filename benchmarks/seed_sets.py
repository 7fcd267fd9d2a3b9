"""Sets of seeds, one trained after the other: how often are equal variants called different? What do ours say?

    python benchmarks/seed_sets.py                # two minutes on one core
    python benchmarks/seed_sets.py --runs 2000    # does it run? the figures say little
    python benchmarks/seed_sets.py --docs         # the pooled numbers of docs/results-tasks.md, from its two sets

Prints Markdown tables: that of `benchmarks/data/seed_sets.csv`, and the numbers of docs/results-tasks.md. Variants are compared
with a baseline seed by seed, and their verdicts allow for their number (Holm), as in a report. The levels are those of
`plugins/tasks/seed_sets.py`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from printing import head, row
from scipy import special, stats

from modbench.harness.stats import effects
from modbench.harness.stats.effects import LEVEL, Effect
from modbench.harness.stats.interim import ONE, Analysis
from modbench.plugins.tasks import exact_two_proportions
from modbench.plugins.tasks.seed_sets import SeedSets

# A run finds the rule or stays on a plateau, about as at inference: shares, middles and deviations.
FINDS, FOUND, PLATEAU, DEVIATIONS = 0.5, 0.95, 0.68, (0.04, 0.1)
SOLVED = 0.83


@dataclass(frozen=True)
class Set:
    """What is known of a set of seeds of which only a summary is stored: a mean difference with its interval, in points."""

    n: int
    mean: float
    low: float
    high: float

    def values(self) -> list[float]:
        """Differences with this mean and this interval: two numbers are all that a t-interval takes from them."""
        sd = (self.high - self.low) / 2 / effects.t_quantile(0.975, self.n) * math.sqrt(self.n)
        apart = sd * math.sqrt((self.n - 1) / self.n)
        return [self.mean + apart * (-1) ** i for i in range(self.n)]


# nli_templates, variant minus dense in points: seeds 3 to 14, then 15 to 26 (docs/results-tasks.md).
DOCS = {
    "MoD 0.125": (Set(12, -2.7, -13.0, 7.6), Set(12, -12.2, -23.9, -0.6)),
    "MoDE integrated": (Set(12, 7.8, -1.3, 16.8), Set(12, 6.9, 0.0, 13.8)),
}
# The same of seeds 0 to 2, which raised the question, by seed; and the runs of both sets that solved it, of 12 each.
EXPLORED = {"MoD 0.125": [-27.0, 0.0, -20.0], "MoDE integrated": [4.0, 12.0, 5.0]}
SOLVED_RUNS = {"dense": (7, 5), "MoD 0.125": (5, 1), "MoDE integrated": (10, 11)}


def looks_of(sizes: Sequence[int], planned: int = 1) -> list[Analysis]:
    """Which look each set is when it is the newest: of so many planned, or of those that are there."""
    ends = np.cumsum(sizes).tolist()
    sets = tuple(tuple(range(end - size, end)) for size, end in zip(sizes, ends, strict=True))
    return [SeedSets(sets[: i + 1], planned).analysis(range(end)) for i, end in enumerate(ends)]


def told_apart(p_RA: np.ndarray, look: Analysis) -> np.ndarray:
    """[R, A] Whether variants are significantly different in each run, among all of them (Holm), by the p-values of one look."""
    variants = p_RA.shape[1]
    levels_A = np.array([look.level_at((1 - LEVEL) / (variants - below)) for below in range(variants)])
    order_RA = np.argsort(p_RA, axis=1)
    told_RA = np.logical_and.accumulate(np.take_along_axis(p_RA, order_RA, 1) <= levels_A, axis=1)
    found_RA = np.empty_like(told_RA)
    np.put_along_axis(found_RA, order_RA, told_RA, 1)
    return found_RA


def p_of_means(mine_RAN: np.ndarray, base_RN: np.ndarray) -> np.ndarray:
    """[R, A] P-values of mean differences, seed by seed."""
    apart_RAN = mine_RAN - base_RN[:, None]
    n = apart_RAN.shape[-1]
    t_RA = apart_RAN.mean(-1) / (apart_RAN.std(-1, ddof=1) / math.sqrt(n))
    return np.asarray(2 * special.stdtr(n - 1, -np.abs(t_RA)))


def p_of_counts(mine_RAN: np.ndarray, base_RN: np.ndarray) -> np.ndarray:
    """[R, A] Exact p-values of how many runs solved the task."""
    n = mine_RAN.shape[-1]
    table = exact_two_proportions.p_values(n, n)
    return np.asarray(table[(mine_RAN >= SOLVED).sum(-1), (base_RN >= SOLVED).sum(-1)[:, None]])


Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Accuracies that spread normally."""
    return rng.normal(0.8, 0.15, shape)


def plateau(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Accuracies of runs that find the rule or do not."""
    found = rng.random(shape) < FINDS
    spread = np.where(found, DEVIATIONS[0], DEVIATIONS[1]) * rng.standard_normal(shape)
    return np.asarray(np.clip(np.where(found, FOUND, PLATEAU) + spread, 0.0, 1.0))


@dataclass(frozen=True)
class World:
    """What is simulated.

    Attributes:
        draw: accuracies of equal runs.
        p_values: how variants are compared.
        sizes: seeds of each set.
        variants: variants beside the baseline.
    """

    draw: Draw = normal
    p_values: Callable[[np.ndarray, np.ndarray], np.ndarray] = p_of_means
    sizes: tuple[int, ...] = (12, 12)
    variants: int = 2


def errors(world: World, runs: int, seed: int = 0, better: float = 0.0) -> dict[str, float]:
    """Share of runs in which some variant is significantly different at some set (the last variant alone, if it is better), by
    use of the sets.
    """
    rng, n = np.random.default_rng(seed), sum(world.sizes)
    mine_RAN, base_RN = world.draw(rng, (runs, world.variants, n)), world.draw(rng, (runs, n))
    mine_RAN[:, -1] += better
    ends = np.cumsum(world.sizes).tolist()
    planned, unplanned = looks_of(world.sizes, len(world.sizes)), looks_of(world.sizes)
    told: dict[str, np.ndarray] = {}
    for i, (end, size) in enumerate(zip(ends, world.sizes, strict=True)):
        alone = world.p_values(mine_RAN[..., end - size : end], base_RN[:, end - size : end])
        pooled = world.p_values(mine_RAN[..., :end], base_RN[:, :end])
        made = {
            "the newest set alone": told_apart(alone, ONE),
            "pooled, 5 % at each look": told_apart(pooled, ONE),
            "pooled, looks not planned": told_apart(pooled, unplanned[i]),
            "pooled, looks planned": told_apart(pooled, planned[i]),
        }
        for name, found_RA in made.items():
            found = found_RA[:, -1] if better else found_RA.any(1)
            told[name] = told.get(name, np.zeros(runs, bool)) | found
    return {name: float(each.mean()) for name, each in told.items()}


def held(sizes: tuple[int, ...], draw: Draw, runs: int, seed: int = 0) -> float:
    """Share of runs in which the intervals of all looks hold the true difference, of planned looks at one variant."""
    rng, n = np.random.default_rng(seed), sum(sizes)
    apart_RN = draw(rng, (runs, n)) - draw(rng, (runs, n))
    inside = np.ones(runs, bool)
    for end, look in zip(np.cumsum(sizes).tolist(), looks_of(sizes, len(sizes)), strict=True):
        error_R = apart_RN[:, :end].std(-1, ddof=1) / math.sqrt(end)
        half_R = -special.stdtrit(end - 1, look.level_at() / 2) * error_R
        inside &= np.abs(apart_RN[:, :end].mean(-1)) <= half_R
    return float(inside.mean())


WORLDS = {
    "one variant, normal, 12 and 12 seeds": World(variants=1),
    "two variants, normal, 12 and 12": World(),
    "two variants, plateaus, 12 and 12": World(plateau),
    "two variants, plateaus, counted, 12 and 12": World(plateau, p_of_counts),
    "two variants, plateaus, 5 and 5": World(plateau, sizes=(5, 5)),
    "two variants, plateaus, 6 and 24": World(plateau, sizes=(6, 24)),
    "six variants, plateaus, 12 and 12": World(plateau, variants=6),
    "two variants, plateaus, 8, 8 and 8": World(plateau, sizes=(8, 8, 8)),
}


def family(runs: int) -> None:
    """Equal variants: how often any is significant at any set; and how often the intervals of all sets hold 0."""
    rows = {name: errors(world, runs) for name, world in WORLDS.items()}
    columns = list(next(iter(rows.values())))
    head("equal variants", *columns, "all intervals hold 0")
    for name, found in rows.items():
        world = WORLDS[name]
        inside = "" if world.p_values is p_of_counts else f"{held(world.sizes, world.draw, runs):.3f}"
        row(name, *(f"{each:.3f}" for each in found.values()), inside)


def power(runs: int) -> None:
    """One of two variants is better: how often it is significant by one analysis of 24 seeds, and by two of 12 and 12."""
    head("one of two variants better by", "one look at 24 seeds", "two planned looks", "one look at 12")
    for points in (10, 15):
        one, two = (
            errors(World(sizes=sizes), runs, better=points / 100)["pooled, looks planned"]
            for sizes in ((24,), (12, 12))
        )
        first = errors(World(sizes=(12,)), runs, better=points / 100)["pooled, 5 % at each look"]
        row(f"{points} points", f"{one:.3f}", f"{two:.3f}", f"{first:.3f}")


def docs() -> None:
    """The sets of docs/results-tasks.md: each alone, and pooled; with the seeds that raised the question; and by counts."""
    columns = "seeds 3 to 14", "seeds 15 to 26", "both, two looks", "p among two variants"
    head("nli_templates, points over dense", *columns, "with seeds 0–2, three looks", "solved, exact p")
    found = {name: pooled([each.values() for each in sets]) for name, sets in DOCS.items()}
    adjusted = effects.adjusted({i: each.p for i, each in enumerate(found.values()) if each.p is not None})
    for i, (name, sets) in enumerate(DOCS.items()):
        alone = (f"{each.mean:+.1f} [{each.low:+.1f}, {each.high:+.1f}]" for each in sets)
        more = pooled([EXPLORED[name], *(each.values() for each in sets)])
        mine, theirs = (sum(SOLVED_RUNS[variant]) for variant in (name, "dense"))
        count = exact_two_proportions.compare(mine, 24, theirs, 24, looks_of([12, 12])[-1])
        counted = f"{mine} of 24 against {theirs}, {count.p:.3f}"
        row(name, *alone, _said(found[name]), f"{adjusted[i]:.3f}", _said(more), counted)
    for name, (one, other) in DOCS.items():
        p = stats.ttest_ind(one.values(), other.values(), equal_var=False).pvalue
        print(f"{name}: the two sets differ with p {p:.2f}")


def _said(effect: Effect) -> str:
    return f"{effect.value:+.2f} [{effect.low:+.2f}, {effect.high:+.2f}]"


def pooled(sets: Sequence[Sequence[float]]) -> Effect:
    """The mean difference over the seeds of all sets, at as many looks."""
    values = [value for each in sets for value in each]
    look = looks_of([len(each) for each in sets])[-1]
    return effects.over_processes(values, analysis=look)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--docs", action="store_true", help="print the pooled numbers of docs/results-tasks.md alone")
    asked = parser.parse_args()
    docs()
    for table in () if asked.docs else (family, power):
        print()
        table(asked.runs)


if __name__ == "__main__":
    main()
