"""How often do the intervals of a joint fit hold the truth? Planted sweeps, through the statistics of a report.

    python benchmarks/joint_fit.py

Three variants of five sizes; each loss is a parabola, an offset of the seed and noise of the run. Prints a Markdown table, kept
in benchmarks/data/joint_fit.csv; docs/method-loss.md says what it shows.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
from printing import head, row

from modbench.plugins.sweeps.joint_fit import Estimate, JointFit, Optimum, Run

LOWEST = {"dense": 2.0, "routed": 1.95, "noise": 2.02}
PLACE = {"dense": 11.0, "routed": 11.3, "noise": 11.1}
BEND = 0.1


@dataclass(frozen=True)
class World:
    """What is simulated.

    Attributes:
        seeds: of every variant.
        sizes: logarithms of the sizes.
        noise: deviation of a run, by variant.
        offset: deviation of the offset that all runs of a seed share.
    """

    seeds: int = 3
    sizes: tuple[float, ...] = (9.6, 10.3, 11.0, 11.7, 12.4)
    noise: tuple[float, float, float] = (0.02, 0.02, 0.02)
    offset: float = 0.0


def swept(world: World, rng: np.random.Generator) -> list[Run]:
    """The runs of one sweep."""
    offsets = rng.normal(0, world.offset, world.seeds)
    noise = dict(zip(LOWEST, world.noise, strict=True))
    return [
        Run(v, x, seed, LOWEST[v] + BEND * (x - PLACE[v]) ** 2 + offsets[seed] + noise[v] * rng.normal())
        for v, x, seed in itertools.product(LOWEST, world.sizes, range(world.seeds))
    ]


def coverage(world: World, runs: int, seed: int = 0) -> dict[str, float]:
    """How often intervals hold the truth: of the place and loss of the dense optimum, and of the difference of two optima."""
    rng, held = np.random.default_rng(seed), dict[str, list[bool]]()
    for _ in range(runs):
        fit = JointFit(swept(world, rng))
        dense = fit.optimum("dense")
        apart = fit.difference("routed", "dense")
        found: list[tuple[str, Estimate, float]] = []
        if isinstance(dense, Optimum):
            found += [("place", dense.place, PLACE["dense"]), ("loss", dense.loss, LOWEST["dense"])]
            held.setdefault("closed", []).append(dense.place.low is not None)
        held.setdefault("optimum", []).append(isinstance(dense, Optimum))
        if apart is not None:
            found.append(("difference", apart, LOWEST["routed"] - LOWEST["dense"]))
        for name, each, truth in found:
            low, high = -math.inf if each.low is None else each.low, math.inf if each.high is None else each.high
            held.setdefault(name, []).append(low <= truth <= high)
    return {name: fmean(each) for name, each in held.items()}


def worlds() -> Sequence[tuple[str, World]]:
    """The rows of the table."""
    plain = World()
    return (
        ("noise of a run 0.02 nats", plain),
        ("two seeds", replace(plain, seeds=2)),
        ("three sizes", replace(plain, sizes=(9.8, 11.0, 12.2))),
        ("offset of a seed 0.03 nats", replace(plain, offset=0.03)),
        ("dense 0.029, others 0.015, offset 0.015", replace(plain, noise=(0.029, 0.015, 0.015), offset=0.015)),
        ("noise 0.1 nats: the curve hardly bends", replace(plain, noise=(0.1, 0.1, 0.1))),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=4000)
    runs = parser.parse_args().runs
    head("3 variants, 5 sizes, 3 seeds", "has an optimum", "place (closed)", "loss there", "difference of two optima")
    for name, world in worlds():
        told = coverage(world, runs)
        place = f"{told['place']:.3f} ({told['closed']:.2f})"
        row(name, f"{told['optimum']:.2f}", place, f"{told['loss']:.3f}", f"{told['difference']:.3f}")


if __name__ == "__main__":
    main()
