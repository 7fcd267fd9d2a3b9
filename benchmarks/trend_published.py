"""What the trend published in docs/results-loss.md says with one standard deviation for all budgets.

    python benchmarks/trend_published.py
    python benchmarks/trend_published.py docs/img/trend.png    # the docs' figure too

The losses of the single seeds were not kept. `benchmarks/data/trend_published.csv` has, for each budget, the difference, its own
95 % interval and the seeds. From half an interval, as t times the standard error, follows a standard deviation over seeds; errors
of the optimum and the text are in it. Planted seeds with that mean and that deviation go through the code that judges a run.
"""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

from modbench.plugins.sweeps.joint_fit import Estimate
from modbench.plugins.sweeps.trend.statistics import LEVEL, UNEQUAL_LEVEL, Bend, Budget, Sizes, Trend, unequal
from modbench.reports.figures.style import new_figure

DATA = Path(__file__).parent / "data" / "trend_published.csv"
# Two equal sizes have their optimum between them, whatever the curvature.
SURE = Bend(1.0, 0.0, 1e9)
FORECAST, FORECAST_SEEDS = 6.4e13, 4
# Where the 54 seeds are.
CONFIRMED = 4e12
COLOR, MUTED, GRID = "#0072b2", "0.35", "0.88"


class Published(NamedTuple):
    """A difference of the table.

    Attributes:
        flops: the budget.
        seeds: of each variant and size.
        value: the variant's loss minus the baseline's, in nats.
        low: lower end of its own interval.
        high: upper end.
    """

    flops: float
    seeds: int
    value: float
    low: float
    high: float

    @property
    def error(self) -> float:
        """Its standard error."""
        return (self.high - self.low) / 2 / float(stats.t.ppf((1 + LEVEL) / 2, self.seeds - 1))

    @property
    def spread(self) -> float:
        """Standard deviation over seeds."""
        return self.error * math.sqrt(self.seeds)


def rows(text: str, run: str = "trend") -> list[dict[str, str]]:
    """The rows of a text and a run."""
    with DATA.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if (row["text"], row["run"]) == (text, run)]


def table(text: str) -> list[Published]:
    """The budgets of a text's trend."""
    names = ("flops", "difference", "ci_low", "ci_high")
    found = [(int(row["seeds"]), [float(row[name]) for name in names]) for row in rows(text)]
    return [Published(flops, seeds, value, low, high) for seeds, (flops, value, low, high) in found]


def confirmation() -> tuple[float, float, float]:
    """The confirmation of 54 seeds at 4e12: its difference, the standard error, and Welch's degrees of freedom."""
    (row,) = rows("library", "confirmation")
    seeds = int(row["seeds"])
    parts = [float(row[f"{name}_sd"]) ** 2 / seeds for name in ("dense", "mod")]
    return float(row["difference"]), math.sqrt(sum(parts)), sum(parts) ** 2 / sum(x**2 / (seeds - 1) for x in parts)


def trend(found: Sequence[Published]) -> Trend:
    """A trend of planted seeds that have these differences and spreads."""
    budgets = []
    for each in found:
        seeds_S = np.arange(float(each.seeds))
        seeds_S = (seeds_S - seeds_S.mean()) / seeds_S.std(ddof=1)
        mine_S2 = np.stack([each.value + each.spread * seeds_S] * 2, axis=1)
        budgets.append(Budget(each.flops, Sizes(0.0, 1.0, mine_S2), Sizes(0.0, 1.0, np.zeros_like(mine_S2))))
    return Trend(budgets, SURE, SURE)


def shown(found: Estimate | None, digits: int = 4) -> str:
    """A value with its interval."""
    if found is None or found.low is None or found.high is None:
        return "none"
    value, low, high = (f"{each:+.{digits}f}" for each in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]"


def told(name: str, found: Sequence[Published]) -> Trend:
    """Print what budgets say together."""
    made = trend(found)
    p = unequal([each.spread**2 for each in found], [each.seeds - 1.0 for each in found])
    which = "one spread" if made.has_one_spread else "each its own"
    print(f"\n{name}: {', '.join(f'{each.flops:g}' for each in found)}")
    print(f"  spreads {', '.join(f'{each:.4f}' for each in made.spreads)}; pooled {made.spread:.4f}; ", end="")
    print(f"Bartlett's p {p:.3f}, level {UNEQUAL_LEVEL:g}: {which}")
    for budget, difference in zip(made.budgets, made.differences, strict=True):
        print(f"  {budget.flops:g}: {shown(difference)}, {budget.seeds} seeds")
    print(f"  slope {shown(made.slope)} | quadratic term {shown(made.bent)}, straight: {made.is_straight}")
    if made.off_line is not None:
        i, apart = made.off_line
        print(f"  {made.budgets[i].flops:g} is off the line through the others by {shown(apart)} (99 %)")
    print(f"  crossing {made.crossing()}")
    if found[-1].flops < FORECAST:
        print(f"  forecast {FORECAST:g} {shown(made.forecast(FORECAST, FORECAST_SEEDS))}")
    return made


def against(name: str, made: Trend, flops: float, value: float, error: float, freedom: float) -> None:
    """Print whether other seeds at a budget differ from the line."""
    line = made.at(flops)
    assert line is not None
    assert line.error is not None
    seeds = sum(each.seeds - 1.0 for each in made.budgets)
    variances = line.error**2, error**2
    welch = sum(variances) ** 2 / (variances[0] ** 2 / seeds + variances[1] ** 2 / freedom)
    apart = value - line.value
    p = 2 * float(stats.t.sf(abs(apart) / math.sqrt(sum(variances)), welch))
    print(f"  {name} {value:+.4f} at {flops:g} minus its line {line.value:+.4f}: {apart:+.4f}, p {p:.4f}")


def draw(file: Path, made: Trend, found: Sequence[Estimate], known: tuple[float, float, float]) -> None:
    """Save the differences with their intervals, and the confirmation."""
    figure, (axis,) = new_figure(7.0, 4.4)
    axis.grid(visible=True, color=GRID)
    axis.set_axisbelow(True)
    axis.axhline(0, color=MUTED, linewidth=0.9)
    for budget, each in zip(made.budgets, found, strict=True):
        assert each.low is not None
        assert each.high is not None
        axis.plot([budget.flops] * 2, [each.low, each.high], color=COLOR, linewidth=1.8)
        axis.plot([budget.flops], [each.value], "s", color=COLOR, markersize=7)
    value, error, freedom = known
    half = error * float(stats.t.ppf((1 + LEVEL) / 2, freedom))
    place = CONFIRMED * 1.15  # beside the dot of the five seeds
    axis.plot([place] * 2, [value - half, value + half], color=MUTED, linewidth=1.8)
    axis.plot([place], [value], "s", color=MUTED, markersize=7, markerfacecolor="white")
    axis.set_xscale("log")
    axis.minorticks_off()
    budgets = [each.flops for each in made.budgets]
    axis.set_xticks(budgets, [f"{each:.2g}".replace("e+", "e") for each in budgets])
    axis.set_xlabel("training FLOPs; hollow: 54 seeds at 4e12")
    axis.set_title("nats per token: MoD 0.125 minus dense")
    figure.savefig(file, dpi=140, bbox_inches="tight")


def main() -> None:
    """Print the trends of the table; draw the figure where a file is named."""
    found = table("library")
    whole = told("all five", found)
    later = told("without the smallest", found[1:])
    suite = told("those of the suite", found[1:-1])
    known = confirmation()
    print("\n54 seeds against the lines")
    for name, made in (("all five:", whole), ("without the smallest:", later), ("of the suite:", suite)):
        against(name, made, CONFIRMED, *known)
    value, error, _ = known
    half = error * float(stats.t.ppf((1 + LEVEL) / 2, 53))
    more = [
        each._replace(seeds=54, value=value, low=value - half, high=value + half)
        for each in found
        if each.flops == 4e12
    ]
    told("with the 54 seeds at 4e12", sorted([*(each for each in found[1:] if each.flops != CONFIRMED), *more]))
    last, before = found[-1], found[-2]
    error = later.spread * math.sqrt(1 / last.seeds + 1 / before.seeds)
    half = error * float(stats.t.ppf((1 + LEVEL) / 2, sum(each.seeds - 1 for each in found[1:])))
    change = last.value - before.value
    print(f"\nfrom {before.flops:g} to {last.flops:g}: {change:+.3f} [{change - half:+.3f}, {change + half:+.3f}]")
    told("novels", table("novels"))
    told("the library at the same budgets", found[1:3])
    if len(sys.argv) > 1:
        own = [whole.differences[0], *later.differences]
        draw(Path(sys.argv[1]), whole, own, known)


if __name__ == "__main__":
    main()
