"""Does a search along length find where a variant pays as surely as the whole grid does, and what does it spend?

    python benchmarks/search.py [--rows 2000]

Process effects are planted around a curve (nothing is timed) and searched by the product's own rule, for the baseline and the
matched baseline at once, as in `breakeven`; the band of the cells that it measured comes from the report's own
code. Beside it stands the band of the whole grid, from the same processes. Seconds of a cell are those that the plan of
`breakeven` predicts.

Prints a Markdown table, kept in benchmarks/data/search.csv: the share of bands that hold the planted line (search / whole
grid), cells that were measured, time in parts of the grid's, and the width of the band in doublings where both have two ends,
with the share that does (search / grid).
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from printing import head, row

from modbench.harness.planning import plan
from modbench.harness.planning.load_suite import load_suite
from modbench.harness.stats import effects
from modbench.harness.stats.break_even import Found, Point, break_even
from modbench.harness.stats.effects import Effect
from modbench.plugins.search.rule import Reading, next_cells_of_all, rows_of

# Log effect by the distance from the line, in doublings of the length.
Curve = Callable[[float], float]
CURVES: dict[str, Curve] = {
    "steep: 0.3 for each doubling": lambda d: 0.3 * d,
    "0.1 for each doubling": lambda d: 0.1 * d,
    "0.03 for each doubling": lambda d: 0.03 * d,
    "flat: 0.01 for each doubling": lambda d: 0.01 * d,
    "curved: grows with the length": lambda d: 0.1 * (2**d - 1),
    "flat below the line, steep above it": lambda d: 0.2 * d if d > 0 else 0.01 * d,
    "no line: never pays": lambda _: -0.05,
    "no line: always pays": lambda _: 0.05,
}
PROCESSES, SPREADS = (5, 7, 10), (0.005, 0.01, 0.015)
# By how many doublings the matched baseline of equal cost is beaten later than the anchor.
LATER = 1.2


@dataclass
class Tally:
    """What was found and spent, over many rows; `closed`: whether a band has two ends, `widths`: where both bands do."""

    held: list[bool] = field(default_factory=list)
    fell: int = 0
    cells: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    closed: list[bool] = field(default_factory=list)
    widths: list[float] = field(default_factory=list)

    @property
    def coverage(self) -> float:
        """Share of bands that hold the line."""
        return sum(self.held) / max(1, len(self.held))


def seconds_of_cells() -> dict[int, float]:
    """Seconds of the suite's cells by length, in all of its rows together, as its plan predicts them."""
    made = plan.make_plan(load_suite("breakeven"), device="cpu")
    found: dict[int, float] = {}
    for each in rows_of(made).values():
        for cell in each.cells:
            found[cell.at] = found.get(cell.at, 0.0) + sum(plan.predicted_seconds(made, job, 1) for job in cell.jobs)
    return found


def reading(effect: Effect) -> Reading:
    """What a cell with this effect tells the search."""
    assert effect.low is not None
    assert effect.high is not None
    return Reading(effect.value >= 0, decided=not effect.low <= 0 <= effect.high)


def searched(targets: Sequence[Sequence[Effect]]) -> list[int]:
    """Places of the cells that a search measures, given the effects of all cells against each other variant."""
    known: list[dict[int, Reading]] = [{} for _ in targets]
    while more := next_cells_of_all(len(targets[0]), known):
        for target, readings in zip(targets, known, strict=True):
            readings |= {at: reading(target[at]) for at in more}
    return sorted(known[0])


def line_of(curve: Curve, line: float, doublings: Sequence[float]) -> float:
    """Where a curve, joined by straight lines between the cells of the grid, crosses 0, in doublings; infinite outside."""
    at = [curve(x - line) for x in doublings]
    if at[0] >= 0:
        return -math.inf
    for i, (before, after) in enumerate(itertools.pairwise(at)):
        if before < 0 <= after:
            return doublings[i] + before / (before - after) * (doublings[i + 1] - doublings[i])
    return math.inf


def holds(found: Found, truth: float, doublings: Sequence[float]) -> bool:
    """Whether what is said is true of a line at so many doublings."""
    if found.outcome == "always":
        return truth <= doublings[0]
    if found.outcome == "never":
        return truth > doublings[-1]
    low, high = -math.inf if found.low is None else math.log2(found.low), math.log2(found.high or math.inf)
    return low - 1e-9 <= truth <= high + 1e-9


def simulate(
    curve: Curve, line: float, rows: int, *, processes: int, sd: float, seconds: dict[int, float], seed: int = 0
) -> tuple[Tally, Tally]:
    """Search planted rows, and measure their whole grid.

    Args:
        curve: planted, against the baseline; against the matched baseline it lies `LATER` doublings further on.
        line: where it crosses 0, in doublings (log2 of the length).
        rows: how many.
        processes: of a cell.
        sd: standard deviation of an effect between processes.
        seconds: of a cell, by length.
        seed: draws everything.
    """
    rng, lengths = np.random.default_rng(seed), sorted(seconds)
    x = [math.log2(length) for length in lengths]
    tallies, grid_points = (Tally(), Tally()), (line, line + LATER)
    curves = np.array([[curve(each - grid_point) for each in x] for grid_point in grid_points])
    truths = [line_of(curve, grid_point, x) for grid_point in grid_points]
    for _ in range(rows):
        # What is the variant's own differs in every process, and is in both of its effects.
        own = rng.normal(0, sd / math.sqrt(2), (len(x), processes))
        drawn = curves[:, :, None] + own + rng.normal(0, sd / math.sqrt(2), (2, len(x), processes))
        every = [[effects.over_processes(cell.tolist()) for cell in target] for target in drawn]
        for tally, cells in zip(tallies, (searched(every), range(len(x))), strict=True):
            tally.cells.append(len(cells))
            tally.seconds.append(sum(seconds[lengths[at]] for at in cells))
        bands = [[_band(target, cells, lengths) for target in every] for cells in (searched(every), range(len(x)))]
        for tally, found in zip(tallies, bands, strict=True):
            for each, truth in zip(found, truths, strict=True):
                tally.fell += each.outcome == "not monotone"
                tally.closed.append(None not in (each.low, each.high))
                if each.outcome != "not monotone":
                    tally.held.append(holds(each, truth, x))
        for few, all_ in zip(*bands, strict=True):
            if None not in (few.low, few.high, all_.low, all_.high):
                for tally, each in zip(tallies, (few, all_), strict=True):
                    tally.widths.append(math.log2((each.high or 1) / (each.low or 1)))
    return tallies


def _band(target: Sequence[Effect], cells: Sequence[int], lengths: Sequence[int]) -> Found:
    return break_even([Point(lengths[at], target[at].value, target[at].sd, target[at].n) for at in cells])


def over_lines(
    curve: Curve, rows: int, *, processes: int, sd: float, seconds: dict[int, float], seed: int = 0
) -> tuple[Tally, Tally]:
    """The same for lines everywhere between the shortest length and the longest; `rows` in all."""
    ends = (math.log2(min(seconds)), math.log2(max(seconds)))
    lines = np.linspace(ends[0] + 0.1, ends[1] - LATER - 0.1, 9)
    total = (Tally(), Tally())
    for i, line in enumerate(lines):
        made = simulate(
            curve, float(line), rows // len(lines), processes=processes, sd=sd, seconds=seconds, seed=seed + i
        )
        for into, found in zip(total, made, strict=True):
            into.held += found.held
            into.fell += found.fell
            into.cells += found.cells
            into.seconds += found.seconds
            into.closed += found.closed
            into.widths += found.widths
    return total


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=900, help="of each line of the table")
    rows, seconds = parser.parse_args().rows, seconds_of_cells()
    head("curve", "processes", "spread", "held", "cells", "time", "width")
    for name, curve in CURVES.items():
        for processes in PROCESSES:
            for sd in SPREADS:
                few, every = over_lines(curve, rows, processes=processes, sd=sd, seconds=seconds)
                time = sum(few.seconds) / sum(every.seconds)
                width = " / ".join(f"{np.mean(each.widths):.3f}" if each.widths else "–" for each in (few, every))
                width += f" ({np.mean(few.closed):.0%} / {np.mean(every.closed):.0%})" if few.widths else ""
                fell = f", {few.fell + every.fell} fell" if few.fell + every.fell else ""
                held = f"{few.coverage:.3f} / {every.coverage:.3f}{fell}"
                row(
                    name,
                    processes,
                    f"{sd:.1%}",
                    held,
                    f"{np.mean(few.cells):.1f} of {every.cells[0]}",
                    f"{time:.2f}",
                    width,
                )


if __name__ == "__main__":
    main()
