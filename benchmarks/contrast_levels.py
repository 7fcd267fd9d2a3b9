"""What would a simpler rule of verdicts cost? Levels of better, worse and equivalent, families, and interim analyses, simulated.

    python benchmarks/contrast_levels.py                   # a minute on one core
    python benchmarks/contrast_levels.py --repeats 500     # does it run? the figures say little

Planted effects (nothing is timed): processes differ by 1 %, the margin is 2 %. Pairs of a family share their baseline. One pair
takes longer by what the column says, the others are equal. Prints as Markdown what data/contrast_levels.csv and
data/contrast_interim.csv hold.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from printing import head, row
from scipy import special

from modbench.harness.stats.interim import LEVEL, analysis_at, schedule
from modbench.harness.stats.power import Bools, Ends, Floats
from modbench.harness.stats.verdicts import Rule

MARGIN, SD = 0.02, 0.01
EDGE = math.log1p(MARGIN)
OURS = Rule("time", MARGIN)
NUMBERS, FAMILIES = (5, 12), (1, 8, 34)
# Blocks of `modbench ab`, and their standard deviations.
BLOCKS, SPREADS = 30, (0.015, 0.025)


class Said(NamedTuple):
    """Which pairs are better or worse, equivalent, or marked at all, by repetition and pair."""

    beyond: Bools
    equal: Bools
    mark: Bools


Judge = Callable[[Floats, Floats, int], Said]


def holm(p_RF: Floats) -> Floats:
    """P-values of each repetition's family, adjusted."""
    order_RF = np.argsort(p_RF, axis=1, kind="stable")
    sorted_RF = np.take_along_axis(p_RF, order_RF, 1) * np.arange(p_RF.shape[1], 0, -1)
    adjusted_RF = np.empty_like(p_RF)
    np.put_along_axis(adjusted_RF, order_RF, np.maximum.accumulate(sorted_RF, axis=1), 1)
    return adjusted_RF


def ours(means_RF: Floats, errors_RF: Floats, n: int) -> Said:
    """95 % and Holm for a difference, 90 % for equivalence."""
    shown_RF = holm(2 * special.stdtr(n - 1, -abs(means_RF) / errors_RF)) <= LEVEL
    wide_RF, narrow_RF = (special.stdtrit(n - 1, 1 - tail) * errors_RF for tail in (LEVEL / 2, LEVEL))
    lies = OURS.lies(Ends(means_RF - wide_RF, means_RF + wide_RF, means_RF - narrow_RF, means_RF + narrow_RF))
    equal_RF, beyond_RF = np.asarray(lies.inside), shown_RF & np.asarray(lies.above | lies.below)
    return Said(beyond_RF, equal_RF, shown_RF & ~equal_RF)


def one_interval(level: Callable[[int], float]) -> Judge:
    """A verdict from where one interval lies, whose two-sided level may depend on the number of pairs."""

    def rule(means_RF: Floats, errors_RF: Floats, n: int) -> Said:
        half_RF = special.stdtrit(n - 1, 1 - level(means_RF.shape[1]) / 2) * errors_RF
        equal_RF = abs(means_RF) + half_RF < EDGE
        return Said(abs(means_RF) - half_RF > EDGE, equal_RF, (abs(means_RF) > half_RF) & ~equal_RF)

    return rule


RULES: dict[str, Judge] = {
    "**ours**": ours,
    "one, level divided by the pairs": one_interval(lambda pairs: LEVEL / pairs),
    "one of 90 %": one_interval(lambda _: 2 * LEVEL),
    "one of 95 %": one_interval(lambda _: LEVEL),
}


def drawn(n: int, pairs: int, repeats: int) -> Iterator[tuple[Floats, Floats]]:
    """Means and standard errors of pairs whose members are equal, by repetition and pair, in portions."""
    random = np.random.default_rng((n, pairs))
    for _ in range(0, repeats, 1000):
        sides_RFN = random.normal(0, SD / math.sqrt(2), (1000, pairs + 1, n))
        values_RFN = sides_RFN[:, 1:] - sides_RFN[:, :1]
        yield values_RFN.mean(axis=2), values_RFN.std(axis=2, ddof=1) / math.sqrt(n)


def shares(rule: Judge, n: int, pairs: int, repeats: int) -> list[float]:
    """How often a rule errs, and how often it finds what is there, as the columns of the table."""
    found = []
    for means_RF, errors_RF in drawn(n, pairs, repeats):
        none = rule(means_RF, errors_RF, n)
        slower = [
            rule(means_RF + np.where(np.arange(pairs) == 0, math.log1p(by), 0.0), errors_RF, n)
            for by in (MARGIN, 0.03, 0.05)
        ]
        columns = [each.beyond[:, 0] for each in slower]
        columns[1:1] = [slower[0].equal[:, 0]]
        found.append([np.mean(each) for each in (np.any(none.mark, axis=1), *columns, none.equal[:, 0])])
    return [float(share) for share in np.mean(found, axis=0)]


def print_rules(repeats: int) -> None:
    """Print what the rules cost, by processes and family."""
    columns = "+2 %: *worse*", "+2 %: *equivalent*", "+3 %: *worse*", "+5 %: *worse*", "equal: *equivalent*"
    head("processes", "pairs", "interval", "none differs: any mark", *columns)
    for n in NUMBERS:
        for pairs in FAMILIES:
            for name, rule in RULES.items():
                row(n, pairs, name, *(f"{share:.3f}" for share in shares(rule, n, pairs, repeats)))


def looked(looks: int, slower: float, spread: float, repeats: int) -> tuple[float, float, float]:
    """Blocks are looked at several times, until one pair is decided by `ours` at the levels of its analyses.

    Returns:
        The share that is worse, the share that is equivalent, and the mean number of blocks.
    """
    numbers = schedule(BLOCKS, looks)
    values_RN = np.random.default_rng(0).normal(math.log1p(slower), spread, (repeats, BLOCKS))
    beyond_R, equal_R, blocks_R = (np.zeros(repeats, kind) for kind in (bool, bool, int))
    for number, n in enumerate(numbers, 1):
        seen_RN, analysis = values_RN[:, :n], analysis_at(number, numbers)
        means_R, errors_R = abs(seen_RN.mean(axis=1)), seen_RN.std(axis=1, ddof=1) / math.sqrt(n)
        wide_R, narrow_R = (
            special.stdtrit(n - 1, 1 - analysis.level_at(level) / 2) * errors_R for level in (LEVEL, 2 * LEVEL)
        )
        going_R = ~(beyond_R | equal_R)
        blocks_R[going_R] = n
        equal_R |= going_R & (means_R + narrow_R < EDGE)
        beyond_R |= going_R & (means_R - wide_R > EDGE)
    return float(beyond_R.mean()), float(equal_R.mean()), float(blocks_R.mean())


def print_looks(repeats: int) -> None:
    """Print what interim analyses cost and save."""
    slowdowns = (0.0, MARGIN, 0.03, 0.05)
    head("block sd", "analyses", *(f"{each:+.0%}: *worse* · *equivalent*; blocks" for each in slowdowns))
    for spread in SPREADS:
        for looks in (1, 4, 20):
            found = [looked(looks, slower, spread, repeats) for slower in slowdowns]
            row(f"{spread:.1%}", looks, *(f"{worse:.3f} · {equal:.3f}; {n:.1f}" for worse, equal, n in found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20000, help="of each cell, in thousands (%(default)s)")
    repeats = 1000 * math.ceil(parser.parse_args().repeats / 1000)
    print_rules(repeats)
    print()
    print_looks(repeats)


if __name__ == "__main__":
    main()
