"""How often does the interval of the compute-equivalent gain hold the truth? Planted losses, through the statistics of a report.

    python benchmarks/exchange.py

Losses are a dense curve, an offset of each seed that all variants share, and noise of each run. Prints a Markdown table, kept
in benchmarks/data/gain.csv (docs/method-equivalents.md says what it shows): how often each holds the truth and, in brackets,
how often there is a number with both ends; where the dense curve bends, by how much the median estimate is too high.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from printing import head, row

from modbench.plugins.sweeps.gain.statistics import Rate, crossing, rate

SEEDS, POINTS = (3, 5, 8), (2, 3, 4)
# Share of the largest dense model's compute that the smallest has.
SMALLEST = 0.4


@dataclass(frozen=True)
class World:
    """What is simulated.

    Attributes:
        seeds: of every variant.
        points: dense models, at equal distances in the logarithm of the compute.
        place: where the variant lies: `anywhere` on the dense models; `identical` to a dense model within it, or in the
            middle of two; or identical to the `largest`.
        noise: standard deviation of a run's loss, as a share of the fall from the smallest to the largest dense model.
        processes: of a time; 0: the compute is counted.
        process_sd: standard deviation of a process's effect.
        saved: how much less than the dense model of equal loss the variant costs, on the log scale.
        exponent: of the power law by which the dense loss falls with compute; 0: straight over its logarithm."""

    seeds: int = 5
    points: int = 3
    place: str = "anywhere"
    noise: float = 0.1
    processes: int = 0
    process_sd: float = 0.005
    saved: float = 0.1
    exponent: float = 0.0


@dataclass(frozen=True)
class Shares:
    """What came of many runs.

    Attributes:
        held: share of the intervals, bounds included, that hold the truth.
        stated: share of the runs with an interval or a bound.
        closed: share of the runs with a rate whose interval is closed at both ends.
        bias: median estimate over the truth, minus 1.
    """

    held: float
    stated: float
    closed: float
    bias: float


def fallen(costs: np.ndarray, exponent: float) -> np.ndarray:
    """Loss of dense models by the log of their compute: 1 for the smallest, 0 for the largest."""
    if not exponent:
        return costs / math.log(SMALLEST)
    found: np.ndarray = np.expm1(-exponent * costs) / math.expm1(-exponent * math.log(SMALLEST))
    return found


def simulated(world: World, rng: np.random.Generator) -> tuple[Rate, float]:
    """One run: its compute-equivalent gain, and the true one."""
    costs = np.linspace(math.log(SMALLEST), 0.0, world.points)
    at = {
        "anywhere": rng.uniform(0, world.points - 1),
        "identical": (world.points - 1) // 2 if world.points > 2 else 0.5,
        "largest": world.points - 1.0,
    }[world.place]
    as_dear = float(np.interp(at, range(world.points), costs))  # as the dense model of the variant's loss
    curve, loss = fallen(costs, world.exponent), float(fallen(np.array(as_dear), world.exponent))
    common = rng.normal(0, 10 * world.noise, world.seeds)
    dense_variants = curve[:, None] + common + rng.normal(0, world.noise, (world.points, world.seeds))
    variant = loss + common + rng.normal(0, world.noise, world.seeds)
    truth = world.saved
    over = (costs - (as_dear - truth))[:, None]
    if world.processes:
        # Effects against the anchor, which is the largest dense model; all are compared with the variant.
        effects = rng.normal(0, world.process_sd, (world.points + 1, world.processes))
        effects[-2] = 0.0
        over = over + effects[:-1] - effects[-1]
    return rate(crossing(dense_variants.tolist(), variant.tolist()), over.tolist(), counted=not world.processes), truth


def shares(world: World, runs: int, seed: int = 0) -> Shares:
    """Simulate many runs."""
    rng = np.random.default_rng(seed)
    held, closed, values = [], 0, []
    for _ in range(runs):
        found, truth = simulated(world, rng)
        if found.kind == "none":
            continue
        low, high = found.low, found.high
        held.append((low is None or math.log(low) <= truth) and (high is None or truth <= math.log(high)))
        if found.value is not None:
            closed += low is not None and high is not None
            values.append(math.log(found.value) - truth)
    bias = math.expm1(float(np.median(values))) if values else math.nan
    return Shares(sum(held) / max(1, len(held)), len(held) / runs, closed / runs, bias)


def worlds() -> Iterator[tuple[str, World]]:
    """The rows of the table."""
    for noise in (0.03, 0.1, 0.2):
        yield f"noise of a run {noise:.0%} of the fall", World(noise=noise)
    yield "the same at 10%, as seconds of 7 processes", World(processes=7)
    yield "10 processes that differ by 5%", World(noise=0.03, processes=10, process_sd=0.05)
    yield "an identical dense model within the dense models (A/A)", World(place="identical", noise=0.03, saved=0.0)
    yield "the same, as seconds of 7 processes", World(place="identical", noise=0.03, processes=7, saved=0.0)
    yield "an A/A control of the largest dense model (A/A)", World(place="largest", noise=0.03, saved=0.0)


BENT = "noise 3%, loss falls with compute to the power of -0.34"


def main() -> None:
    """Print coverage by world, seeds and points of the dense models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=4000)
    runs = parser.parse_args().runs
    models = ", ".join(map(str, POINTS))
    head(f"interval covers the truth with {models} dense models", *(f"{n} seeds" for n in SEEDS))
    for name, world in (*worlds(), (BENT, World(noise=0.03, exponent=0.34))):
        cells = []
        for n in SEEDS:
            found = [shares(replace(world, seeds=n, points=j), runs) for j in POINTS]
            held, closed = (
                ", ".join(f"{getattr(each, what):.{digits}f}" for each in found)
                for what, digits in (("held", 3), ("closed", 2))
            )
            high = f"; {', '.join(f'{each.bias:+.1%}' for each in found)}" if name == BENT else f" ({closed})"
            cells.append(held + high)
        row(name, *cells)


if __name__ == "__main__":
    main()
