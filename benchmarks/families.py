"""Does a verdict depend on a variant's neighbours, and how often is one given where nothing differs?

    python benchmarks/families.py                # a true +3 % alone, and beside seven variants equal to the anchor
    python benchmarks/families.py --maps 4000    # maps of capacity and length where no capacity differs from its baseline

All variants share their anchor, so pairs depend on each other. Prints Markdown tables for docs/method-verdicts.md. The map is
that of the suite `map`: at each length four capacities and the four matched baselines, which differ from dense of the same
shape and from each other. What is planted is judged as a report judges it."""

from __future__ import annotations

import argparse
import functools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from scipy import special
from simulate import World, pairs, words

from modbench.harness.core.contracts import Text
from modbench.harness.domain.case import Comparison
from modbench.harness.planning.load_suite import load_suite
from modbench.harness.planning.plan import Plan, make_plan
from modbench.harness.stats import effects
from modbench.harness.stats.verdicts import APART, WORSE, Contrast, Rule, estimated, together
from modbench.reports.tables import comparisons

SIZES = ((3, 20), (5, 8), (10, 6))
MOST_LENGTHS = 40


def by_chance(families: int) -> int:
    """Most findings in one direction that chance gives in so many families, where nothing differs.

    In each, a direction has half of the level. In 1 % more families have a finding than this; what is left of the 5 % is for
    families that have several. This file simulates how often there are more.
    """
    counts = np.arange(families + 1)
    return int(np.searchsorted(special.bdtr(counts, families, (1 - effects.LEVEL) / 2), 0.99))


def told_apart(world: World, neighbours: int, repeats: int, seed: int = 0) -> tuple[float, float, float]:
    """Share of runs that tell a true +3 % apart, share that call it worse, and share with a false mark on a neighbour."""
    rng = random.Random(seed)
    told = worse = false = 0
    for _ in range(repeats):
        said = words(pairs(world, [1.03, *[1.0] * neighbours], rng))
        claims = [word in APART for word in said]
        told += claims[0]
        worse += said[0] == WORSE
        false += any(claims[1:])
    return told / repeats, worse / repeats, false / repeats


# --- maps in which nothing differs

Side: TypeAlias = Literal["same shape", "matched"]


@dataclass(frozen=True)
class Kind:
    """What is planted in a map.

    Attributes:
        values: of a variant at a length: seeds of a loss, or processes of a time.
        sd: of a value, beyond what all variants of a seed or process share.
        apart: how far a matched baseline lies from dense of the same shape, and from the next one.
        ratio: whether it is judged as a time is.
    """

    values: int
    sd: float
    apart: float
    ratio: bool


KINDS = {"loss, 5 seeds": Kind(5, 0.02, 0.1, ratio=False), "time, 12 processes": Kind(12, 0.03, 0.1, ratio=True)}


@functools.cache
def planned() -> Plan:
    """The plan of the suite `map`."""
    return make_plan(
        load_suite("map"), device="cpu", text=Text("t", b"some words " * 50_000, b"words " * 9500, "c0ffee")
    )


def marks(plan: Plan, comparison: Comparison, side: Side, kind: Kind, rng: random.Random) -> list[int]:
    """Plant one grid point of a map where no capacity differs from its baseline.

    Returns:
        Of each capacity 1 for a mark upwards, -1 for one downwards, 0 for none.
    """
    beside = {matched.target: matched.variant for matched in plan.matched_baselines}
    smaller = {variant: kind.apart * (1 + number) for number, variant in enumerate(dict.fromkeys(beside.values()))}
    truth = {case.variant: smaller.get(case.variant, 0.0) for case in comparison.variants}
    if side == "matched":
        truth |= {variant: smaller[matched] for variant, matched in beside.items()}
    values = {variant: [mean + rng.gauss(0, kind.sd) for _ in range(kind.values)] for variant, mean in truth.items()}
    rule = Rule("time", plan.suite.margin) if kind.ratio else Rule("loss", 0.0, "higher")
    baseline, families = comparison.variants[0], dict[str, list[tuple[str, Contrast]]]()
    for case, other, among in comparisons.pairs(comparison, baseline, plan.matched_baselines):
        if other is baseline if side == "same shape" else among == "equal cost":
            effect = effects.over_processes(
                [a - b for a, b in zip(values[case.variant], values[other.variant], strict=True)]
            )
            families.setdefault(among, []).append((case.variant, estimated(effect, rule, "interleaved")))
    found = dict[str, Contrast]()
    for those in families.values():
        found |= zip([variant for variant, _ in those], together([each for _, each in those]), strict=True)
    judged = (found[variant] for variant in beside)
    return [(1 if each.effect.value > 0 else -1) if each.verdict in APART else 0 for each in judged]


class Found(NamedTuple):
    """Shares among maps in which no capacity differs from its baseline.

    Attributes:
        points: of grid points with a mark.
        maps: of maps with a mark.
        more: of maps with more marks upwards than `by_chance` says; the largest over maps of 1 to `MOST_LENGTHS` lengths.
    """

    points: float
    maps: float
    more: float


def false_marks(side: Side, kind: Kind, maps: int, seed: int = 0) -> Found:
    """Shares of grid points and maps with a false mark, among so many planted maps of the suite `map`."""
    plan, rng = planned(), random.Random(seed)
    lengths = [each for each in plan.comparisons if "loss/val" in each.metrics]
    points = some = 0
    upwards = [0] * 5  # grid points by their marks upwards, of four capacities
    for _ in range(maps):
        found = [marks(plan, length, side, kind, rng) for length in lengths]
        points += sum(map(any, found))
        some += any(map(any, found))
        for point in found:
            upwards[point.count(1)] += 1
    n = maps * len(lengths)
    return Found(points / n, some / maps, max(_more([count / n for count in upwards])))


def _more(upwards: Sequence[float]) -> Iterator[float]:
    """Of maps of 1, 2, … lengths the share with more marks than chance is said to give, by the distribution at a grid point."""
    marks = [1.0]
    for lengths in range(1, MOST_LENGTHS + 1):
        marks = [*np.convolve(marks, upwards)]
        yield sum(marks[by_chance(lengths) + 1 :])


def main() -> None:
    """Print shares by allocation, or of maps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--maps", type=int, default=0)
    options = parser.parse_args()
    (_print_maps if options.maps else _print_neighbours)(options.maps or options.repeats)


def _print_neighbours(repeats: int) -> None:
    print(
        "| processes x rounds, process sd 0.5 % | told apart alone | beside seven equal | worse alone / beside | any false mark |"
    )
    print("| --- | --- | --- | --- | --- |")
    for processes, rounds in SIZES:
        world = replace(World(), processes=processes, rounds=rounds)
        alone, beside = told_apart(world, 0, repeats), told_apart(world, 7, repeats)
        print(
            f"| {processes} x {rounds} | {alone[0]:.2f} | {beside[0]:.2f} | {alone[1]:.2f} / {beside[1]:.2f} | {beside[2]:.3f} |",
            flush=True,
        )


def _print_maps(maps: int) -> None:
    print(
        "| planted, no capacity differs | over dense of | a mark at a grid point | in a map | more marks upwards than said |"
    )
    print("| --- | --- | --- | --- | --- |")
    for name, kind in KINDS.items():
        for side in get_args(Side):
            found = false_marks(side, kind, maps)
            counts = maps * len(planned().suite.grid.seq_len), maps, maps
            errors = [math.sqrt(share * (1 - share) / n) for share, n in zip(found, counts, strict=True)]
            shares = " | ".join(f"{share:.3f} ± {error:.3f}" for share, error in zip(found, errors, strict=True))
            print(f"| {name} | {side} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
