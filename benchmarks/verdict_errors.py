"""How often does a verdict err, and find what is there? Planted samples, through the statistics of a report; nothing is timed.

    python benchmarks/verdict_errors.py                          # all tables, an hour on one core
    python benchmarks/verdict_errors.py neighbours maps          # two of them
    python benchmarks/verdict_errors.py clocks --repeats 50      # does it run? the figures say little

The tables, as Markdown; data/verdict_NAME.csv holds those that docs/method-timing.md names:

estimands   how often the intervals of the median-based and of the mean-based ratio hold the truth
neighbours  a true +3 % alone, and beside seven variants equal to the baseline
maps        marks in maps of the suite `map` in which no capacity differs from its baseline
clocks      by which clock pairs are judged, whether its interval holds the truth, and what is called worse or better
waits       pairs of equal variants of which samples of both wait for a processor
"""

from __future__ import annotations

import argparse
import functools
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from printing import head, row
from scipy import special
from simulate import World, covered, lognormal_costs, pairs, process, words

from modbench.harness.core.contracts import Text
from modbench.harness.domain.case import Comparison
from modbench.harness.planning.load_suite import load_suite
from modbench.harness.planning.plan import Plan, make_plan
from modbench.harness.stats import effects, paired
from modbench.harness.stats.paired import ProcessSamples
from modbench.harness.stats.verdicts import APART, WORSE, Contrast, Rule, estimated, together
from modbench.reports.tables import comparisons


def made(
    world: World, factors: Sequence[float], repeats: int, rng: random.Random | None = None
) -> list[list[Contrast]]:
    """Of each repetition every variant against the baseline; a factor of 1.03 takes 3 % longer."""
    rng = rng or random.Random(0)
    return [pairs(world, factors, rng) for _ in range(repeats)]


def size(processes: int, rounds: int) -> str:
    return f"{processes} x {rounds}"


# --- two estimands

LONG_RUN = 5000
COSTLY = 0.5
ESTIMANDS = {
    "noise only": World(),
    "one call in ten takes 3×": World(spikes=0.1),
    "input costs lognormal, sd 0.5": World(costs=(COSTLY,)),
    "the same, and spikes": World(costs=(COSTLY,), spikes=0.1),
}


def both_held(world: World, processes: int, rounds: int, repeats: int) -> tuple[float, float]:
    """Share of the intervals that hold the true median-based and mean-based effect of a variant that takes 1.2 times as long.

    The true median-based effect is the median of very many processes' effects. Costly inputs are drawn for each round.
    """
    costs = lognormal_costs(rounds, COSTLY) if COSTLY in world.costs else world.costs
    world, rng = replace(world, processes=processes, rounds=rounds, costs=costs), random.Random(0)
    many = [
        ProcessSamples(each["variant"], None, each["anchor"], {})
        for each in (process(world, {"anchor": 1.0, "variant": 1.2}, rng) for _ in range(LONG_RUN))
    ]
    typical, mean = median(paired.numbers(many, one_thread=False).effects()), -math.log(1.2 * world.mean_cost())
    found = [each for (each,) in made(world, [1.2], repeats, rng)]
    return fmean(covered(each.effect, typical) for each in found), fmean(
        covered(each.wall.other, mean) for each in found
    )


def print_estimands(repeats: int) -> None:
    sizes = ((5, 8), (10, 6), (15, 10))
    head("coverage of the 95 % interval: median / mean", *(size(*each) for each in sizes))
    for name, world in ESTIMANDS.items():
        found = (both_held(world, *each, repeats) for each in sizes)
        row(name, *(f"{typical:.3f} / {mean:.3f}" for typical, mean in found))


# --- families


def told_apart(world: World, neighbours: int, repeats: int) -> tuple[float, float, float]:
    """Share of runs that tell a true +3 % apart, share that call it worse, and share with a false mark on a neighbour."""
    said = [words(each) for each in made(world, [1.03, *[1.0] * neighbours], repeats)]
    return (
        fmean(each[0] in APART for each in said),
        fmean(each[0] == WORSE for each in said),
        fmean(any(word in APART for word in each[1:]) for each in said),
    )


def print_neighbours(repeats: int) -> None:
    head("processes x rounds", "significant alone", "beside seven equal", "worse alone / beside", "any false mark")
    for processes, rounds in ((3, 20), (5, 8), (10, 6)):
        world = World(processes, rounds)
        alone, beside = told_apart(world, 0, repeats), told_apart(world, 7, repeats)
        cells = f"{alone[0]:.2f}", f"{beside[0]:.2f}", f"{alone[1]:.2f} / {beside[1]:.2f}", f"{beside[2]:.3f}"
        row(size(processes, rounds), *cells)


# --- maps in which nothing differs

Side: TypeAlias = Literal["same shape", "matched"]
MOST_LENGTHS = 40


@dataclass(frozen=True)
class Kind:
    """What is planted in a map.

    Attributes:
        values: of a variant at a length: seeds of a loss, or processes of a time.
        sd: of a value, beyond what all variants of a seed or process share.
        rule: how it is judged.
    """

    values: int
    sd: float
    rule: Rule


KINDS = {
    "loss, 5 seeds": Kind(5, 0.02, Rule("loss", 0.0, "higher")),
    "time, 12 processes": Kind(12, 0.03, Rule("time", 0.02)),
}
# How far a matched baseline lies from dense of the same shape, and from the next one.
BETWEEN = 0.1


@functools.cache
def planned() -> Plan:
    """The plan of the suite `map`."""
    text = Text("t", b"some words " * 50_000, b"words " * 9500, "c0ffee")
    return make_plan(load_suite("map"), device="cpu", text=text)


def marks(plan: Plan, comparison: Comparison, side: Side, kind: Kind, rng: random.Random) -> list[int]:
    """Plant one grid point of a map where no capacity differs from its baseline.

    Returns:
        Of each capacity 1 for a mark upwards, -1 for one downwards, 0 for none.
    """
    beside = {matched.target: matched.variant for matched in plan.matched_baselines}
    smaller = {variant: BETWEEN * number for number, variant in enumerate(dict.fromkeys(beside.values()), 1)}
    truth = {case.variant: smaller.get(case.variant, 0.0) for case in comparison.variants}
    if side == "matched":
        truth |= {variant: smaller[matched] for variant, matched in beside.items()}
    values = {variant: [mean + rng.gauss(0, kind.sd) for _ in range(kind.values)] for variant, mean in truth.items()}
    baseline, families = comparison.variants[0], dict[str, dict[str, Contrast]]()
    for case, other, among in comparisons.pairs(comparison, baseline, plan.matched_baselines):
        if other is baseline if side == "same shape" else among == "equal cost":
            apart = [a - b for a, b in zip(values[case.variant], values[other.variant], strict=True)]
            found = estimated(effects.over_processes(apart), kind.rule, "interleaved")
            families.setdefault(among, {})[case.variant] = found
    judged = dict[str, Contrast]()
    for those in families.values():
        judged |= zip(those, together([*those.values()]), strict=True)
    return [(1 if judged[each].effect.value > 0 else -1) if judged[each].verdict in APART else 0 for each in beside]


class Marked(NamedTuple):
    """Shares among maps in which no capacity differs from its baseline.

    Attributes:
        points: of grid points with a mark.
        maps: of maps with a mark.
        more: of maps with more marks upwards than *chance gives*; the largest over maps of 1 to `MOST_LENGTHS` lengths.
    """

    points: float
    maps: float
    more: float


def false_marks(side: Side, kind: Kind, maps: int) -> Marked:
    """Shares of grid points and maps with a false mark, among so many planted maps of the suite `map`."""
    plan, rng = planned(), random.Random(0)
    lengths = [each for each in plan.comparisons if "loss/val" in each.metrics]
    found = [[marks(plan, length, side, kind, rng) for length in lengths] for _ in range(maps)]
    points = [point for each in found for point in each]
    upwards = [fmean(point.count(1) == number for point in points) for number in range(5)]  # of four capacities
    return Marked(fmean(map(any, points)), fmean(any(map(any, each)) for each in found), max(_more(upwards)))


def _more(upwards: Sequence[float]) -> Iterator[float]:
    """Of maps of 1, 2, … lengths the share with more marks than chance is said to give, by the distribution at a grid point.

    In each family a direction has half of the level. In 1 % more families have a finding than the 99 % quantile; what is left
    of the 5 % is for families that have several.
    """
    found = [1.0]
    for lengths in range(1, MOST_LENGTHS + 1):
        found = [*np.convolve(found, upwards)]
        given = special.bdtr(np.arange(lengths + 1), lengths, (1 - effects.LEVEL) / 2)
        yield sum(found[int(np.searchsorted(given, 0.99)) + 1 :])


def print_maps(repeats: int) -> None:
    head(
        "no capacity differs",
        "over dense of",
        "a mark at a grid point",
        "in a map",
        "more marks one way than *chance gives*",
    )
    for name, kind in KINDS.items():
        for side in get_args(Side):
            found = false_marks(side, kind, repeats)
            counts = repeats * len(planned().suite.grid.seq_len), repeats, repeats
            errors = [math.sqrt(share * (1 - share) / n) for share, n in zip(found, counts, strict=True)]
            row(name, side, *(f"{share:.3f} ± {error:.3f}" for share, error in zip(found, errors, strict=True)))


# --- two clocks

FIVE = World(processes=5)
CLOCKS = {
    "noise": FIVE,
    "four times the noise": replace(FIVE, sample_sd=0.05),
    "5 % of calls take 3×": replace(FIVE, spikes=0.05, anchor_spikes=0.05),
    "input costs lognormal, sd 0.5": replace(FIVE, costs=lognormal_costs(6, 0.5)),
    "drift of 2 % a round": replace(FIVE, drift=0.02),
    "heavy tails": replace(FIVE, tails=0.01),
    "waits in half of all samples": replace(FIVE, preempted=0.5),
    "busy blocks": replace(FIVE, busy_blocks=0.5),
    "busy processes": replace(FIVE, busy_processes=1.0),
    "long waits in 5 %": replace(FIVE, preempted=0.05, waits=9.0),
    "waits in 80 % of one, 30 % of the other": replace(FIVE, preempted=0.8, anchor_preempted=0.3),
    "waits in 30 % of one, 80 % of the other": replace(FIVE, preempted=0.3, anchor_preempted=0.8),
    "waits in 20 % of one, 5 % of the other": replace(FIVE, preempted=0.2, anchor_preempted=0.05),
    "3 % waits in 90 % of one, 20 % of the other": replace(FIVE, preempted=0.9, anchor_preempted=0.2, waits=0.03),
    "1 % waits in 90 % of one, 20 % of the other": replace(FIVE, preempted=0.9, anchor_preempted=0.2, waits=0.01),
    "both clocks noisy, each by itself": replace(FIVE, clock_sd=0.03),
}


class Judged(NamedTuple):
    """Shares of pairs: judged by wall time; of intervals that hold the truth; called *worse*; called *worse* or *better*."""

    wall: float
    held: float
    worse: float
    either: float


def judged(world: World, factor: float, repeats: int) -> Judged:
    """Judge pairs whose variant takes `factor` times as long, at the input in the middle where costs differ."""
    costs = np.log(world.costs)
    world = replace(world, costs=tuple(np.exp(costs - np.median(costs)).tolist()))
    found = [each for pair in made(world, [factor], repeats) for each in together(pair)]
    said = [each.verdict for each in found]
    return Judged(
        fmean(not each.by_cpu and not each.noisy for each in found),
        fmean(covered(each.effect, -math.log(factor)) for each in found),
        said.count("worse") / len(said),
        fmean(word in {"worse", "better"} for word in said),
    )


def print_clocks(repeats: int) -> None:
    head("", "+2 %: by wall time · holds · *worse*", "equal: *better* or *worse*", "+3 %: *worse*", "+5 %: *worse*")
    for name, world in CLOCKS.items():
        edge, equal, three, five = (judged(world, factor, repeats) for factor in (1.02, 1.0, 1.03, 1.05))
        at_edge = f"{edge.wall:.2f} · {edge.held:.3f} · {edge.worse:.3f}"
        row(name, at_edge, f"{equal.either:.3f}", f"{three.worse:.2f}", f"{five.worse:.2f}")


# --- waits that change nothing


def lost(world: World, repeats: int) -> tuple[float, float]:
    """Share of pairs of equal variants that are not called equivalent, and share whose interval misses the truth."""
    found = [each for (each,) in made(world, [1.0], repeats)]
    return fmean(each.verdict != "equivalent" for each in found), fmean(not covered(each.effect, 0.0) for each in found)


def print_waits(repeats: int) -> None:
    sizes = ((3, 20), (10, 6))
    head("samples preempted", *(f"{size(*each)}: not equivalent / missed" for each in sizes))
    for share in (0.05, 0.2, 0.4):
        found = (lost(World(*each, preempted=share), repeats) for each in sizes)
        row(f"{share:.0%}", *(f"{undecided:.1%} / {missed:.1%}" for undecided, missed in found))


# Repetitions of each cell as on the pages.
TABLES: dict[str, tuple[Callable[[int], None], int]] = {
    "estimands": (print_estimands, 1000),
    "neighbours": (print_neighbours, 400),
    "maps": (print_maps, 3000),
    "clocks": (print_clocks, 600),
    "waits": (print_waits, 300),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"of {', '.join(TABLES)}; all without one")
    parser.add_argument("--repeats", type=int, help="of each cell, instead of those of the docs")
    asked = parser.parse_args()
    names: Iterable[str] = asked.tables or TABLES
    for name in names:
        table, repeats = TABLES[name]
        table(asked.repeats or repeats)
        print()


if __name__ == "__main__":
    main()
