"""How often does the band of the break-even line hold the planted line? Simulated process effects, through the code of a report.

    python benchmarks/break_even.py [--repeats 1000]

Effects are normal around a planted curve; every length has processes of its own. Prints Markdown tables: the
first is kept in benchmarks/data/break_even.csv, and docs/method-equivalents.md says what it shows.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from printing import head, row

from modbench.harness.stats import effects
from modbench.harness.stats.break_even import Found, Point, break_even

LENGTHS = (64, 128, 256, 512, 1024)
PROCESSES = (3, 5, 7, 10)
# Where the planted lines lie, in steps of the grid: at points and between them, near both ends and in the middle.
GRID_POINTS = (0.1, 0.5, 1.0, 1.3, 2.0, 2.5, 3.0, 3.7, 3.9)


@dataclass(frozen=True)
class Curve:
    """A planted effect along the axis.

    Attributes:
        effect: of the distance from the line, in doublings of the length.
        sd: between processes, at each measured length.
    """

    effect: Callable[[float], float]
    sd: tuple[float, ...] = (0.01,) * len(LENGTHS)


def rises(slope: float) -> Callable[[float], float]:
    """A straight line on the log scale: so much log effect for each doubling."""
    return lambda doublings: slope * doublings


UNEQUAL = (0.02, 0.005, 0.01, 0.03, 0.005)
CURVES = {
    "steep: 0.2 for each doubling": Curve(rises(0.2)),
    "steep, spread unequal": Curve(rises(0.2), UNEQUAL),
    "0.05 for each doubling": Curve(rises(0.05)),
    "0.05, spread unequal": Curve(rises(0.05), UNEQUAL),
    "flat: 0.01 for each doubling": Curve(rises(0.01)),
    "flat below the line, steep above it": Curve(lambda d: 0.2 * d if d > 0 else 0.01 * d),
    "curved: grows with the length": Curve(lambda d: 0.1 * (2**d - 1)),
}
CURVED = "curved: grows with the length"


@dataclass
class Tally:
    """What became of simulated lines."""

    held: int = 0
    missed: int = 0
    fell: int = 0

    @property
    def coverage(self) -> float:
        """Share that the band holds, of those that have one."""
        return self.held / max(1, self.held + self.missed)


def measured(curve: Curve, line: float, processes: int, rng: np.random.Generator) -> list[Point]:
    """Simulate a run whose line lies at so many doublings of the shortest length."""
    points = []
    for step, (length, sd) in enumerate(zip(LENGTHS, curve.sd, strict=True)):
        found = effects.over_processes(rng.normal(curve.effect(step - line), sd, processes).tolist())
        points.append(Point(length, found.value, found.sd, found.n))
    return points


def planted(curve: Curve, line: float) -> float:
    """Where the curve, joined by straight lines between the measured lengths, crosses zero: in doublings of the shortest."""
    at = [curve.effect(step - line) for step in range(len(LENGTHS))]
    for step, (before, after) in enumerate(itertools.pairwise(at)):
        if before < 0 <= after:
            return step + before / (before - after)
    raise AssertionError(line)


def holds(found: Found, grid_point: float) -> bool:
    """Whether what is said is true of a line at so many doublings of the shortest length."""
    truth = LENGTHS[0] * 2**grid_point
    if found.outcome == "always":
        return truth <= LENGTHS[0]
    if found.outcome == "never":
        return truth > LENGTHS[-1]
    slack = 1 + 1e-9  # where truth and end are one point of the axis
    return (found.low or 0) <= truth * slack and truth <= (found.high or math.inf) * slack


def measured_again(
    curve: Curve, line: float, processes: int, points: list[Point], rng: np.random.Generator
) -> list[Point]:
    """The same run, with the lengths that it names to be measured next, until it names none; their spread is the first one's."""
    while (length := break_even(points).measure_next) is not None:
        effect = curve.effect(math.log2(length / LENGTHS[0]) - line)
        found = effects.over_processes(rng.normal(effect, curve.sd[0], processes).tolist())
        points = [*points, Point(length, found.value, found.sd, found.n)]
    return points


def tally(
    curve: Curve,
    processes: int,
    repeats: int,
    *,
    grid_points: tuple[float, ...] = GRID_POINTS,
    true: bool = False,
    again: bool = False,
    seed: int = 0,
) -> Tally:
    """Count the bands that hold the line.

    Args:
        curve: planted.
        processes: at each length.
        repeats: of each place.
        places: of the line, in doublings of the shortest length.
        true: whether the line is the curve's own, not that of the straight lines between measured lengths.
        again: whether the lengths that the run names are measured too.
        seed: of the generator.
    """
    rng, result = np.random.default_rng(seed), Tally()
    for line in grid_points:
        where = line if true else planted(curve, line)
        for _ in range(repeats):
            points = measured(curve, line, processes, rng)
            found = break_even(measured_again(curve, line, processes, points, rng) if again else points)
            if found.outcome == "not monotone":
                result.fell += 1
            elif holds(found, where):
                result.held += 1
            else:
                result.missed += 1
    return result


def false_ends(slope: float, processes: int, repeats: int, seed: int = 0) -> tuple[float, float]:
    """Share of false `always` where the line lies just above the shortest length, of false `never` just below the longest."""
    rng, curve = np.random.default_rng(seed), Curve(rises(slope))
    last = len(LENGTHS) - 1
    ends = ((1e-6, "always"), (last - 1e-6, "never"))
    always, never = (
        sum(break_even(measured(curve, line, processes, rng)).outcome == word for _ in range(repeats)) / repeats
        for line, word in ends
    )
    return always, never


def main() -> None:
    """Print coverage by curve and processes, then the shares of false words."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1000, help="of each of nine places of the line")
    repeats = parser.parse_args().repeats
    header = [f"{processes} processes" for processes in PROCESSES]
    head("the band holds the line (lowest to highest of nine places)", *header)
    fell = 0
    for name, curve in CURVES.items():
        ways = ((False, False), (True, False), (True, True)) if name == CURVED else ((False, False),)
        for true, again in ways:
            cells = []
            for processes in PROCESSES:
                found = [
                    tally(curve, processes, repeats, grid_points=(grid_point,), true=true, again=again)
                    for grid_point in GRID_POINTS
                ]
                shares = [each.coverage for each in found]
                cells.append(f"{sum(shares) / len(shares):.3f} ({min(shares):.3f}–{max(shares):.3f})")
                fell = max(fell, *(each.fell for each in found))
            off = max(abs(2 ** (planted(curve, grid_point) - grid_point) - 1) for grid_point in GRID_POINTS)
            said = f"{name}, its own line, up to {off:.0%} away" if true else name
            said = "the same, with the lengths that it names measured too" if again else said
            row(said, *cells)
    print(f"\nA fall where there is none: in at most {fell / repeats:.1%} of the repeats at a place.")
    print()
    head("false `always` / `never`", *header)
    for slope in (0.2, 0.01):
        words = [false_ends(slope, processes, repeats * len(GRID_POINTS)) for processes in PROCESSES]
        row(f"{slope} for each doubling", *(f"{always:.3f} / {never:.3f}" for always, never in words))


if __name__ == "__main__":
    main()
