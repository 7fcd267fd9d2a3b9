"""What would a simpler rule of verdicts cost? Levels of better, worse and equivalent, families, and interim analyses, simulated.

    python benchmarks/contrast_levels.py                   # two minutes on one core
    python benchmarks/contrast_levels.py --repeats 500     # does it run? the figures say little

Planted effects (nothing is timed): processes differ by 1 %, the margin is 2 %. Pairs of a family share their baseline. One pair
takes longer by what the column says, the others are equal. Prints the Markdown tables of docs/method-timing.md.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from modbench.harness.stats.interim import LEVEL, analysis_at, schedule
from modbench.harness.stats.power import Bools, Ends, Floats
from modbench.harness.stats.verdicts import Rule

MARGIN, SD = 0.02, 0.01
EDGE = math.log1p(MARGIN)
OURS = Rule("time", MARGIN)
NUMBERS, FAMILIES = (3, 5, 10, 12, 30), (1, 4, 8, 34)
# Blocks of `modbench ab`, and their standard deviations.
BLOCKS, SPREADS = 30, (0.01, 0.015, 0.025)


class Said(NamedTuple):
    """Which pairs have which verdict, by repetition and pair; what has none of them is inconclusive.

    Attributes:
        beyond: better or worse.
        equal: equivalent.
        open: different, and its size is open.
    """

    beyond: Bools
    equal: Bools
    open: Bools


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
    grid_point = OURS.lies(Ends(means_RF - wide_RF, means_RF + wide_RF, means_RF - narrow_RF, means_RF + narrow_RF))
    equal_RF, beyond_RF = np.asarray(grid_point.inside), shown_RF & np.asarray(grid_point.above | grid_point.below)
    return Said(beyond_RF, equal_RF, shown_RF & ~beyond_RF & ~equal_RF)


def one_interval(level: Callable[[int], float]) -> Judge:
    """A verdict from where one interval lies, whose two-sided level may depend on the number of pairs."""

    def rule(means_RF: Floats, errors_RF: Floats, n: int) -> Said:
        half_RF = special.stdtrit(n - 1, 1 - level(means_RF.shape[1]) / 2) * errors_RF
        equal_RF, beyond_RF = abs(means_RF) + half_RF < EDGE, abs(means_RF) - half_RF > EDGE
        return Said(beyond_RF, equal_RF, (abs(means_RF) > half_RF) & ~beyond_RF & ~equal_RF)

    return rule


RULES: dict[str, Judge] = {
    "ours": ours,
    "one interval of the family": one_interval(lambda pairs: LEVEL / pairs),
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


def shares(n: int, pairs: int, repeats: int) -> dict[str, dict[str, float]]:
    """By rule how often it errs, and how often it finds what is there."""
    counts = {name: dict[str, list[float]]() for name in RULES}
    for means_RF, errors_RF in drawn(n, pairs, repeats):
        for name, rule in RULES.items():
            told = counts[name]

            def count(key: str, each: Bools, told: dict[str, list[float]] = told) -> None:
                told.setdefault(key, []).append(float(np.mean(each)))

            none = rule(means_RF, errors_RF, n)
            count("any mark", np.any(none.beyond | none.open, axis=1))
            count("equal: equivalent", none.equal[:, 0])
            count("any beyond", np.any(rule(means_RF + EDGE, errors_RF, n).beyond, axis=1))
            for slower in (0.01, MARGIN, 0.03, 0.05):
                effect_F = np.where(np.arange(pairs) == 0, math.log1p(slower), 0.0)
                found = rule(means_RF + effect_F, errors_RF, n)
                count(f"{slower:+.0%}: worse", found.beyond[:, 0])
                count(f"{slower:+.0%}: equivalent", found.equal[:, 0])
                count(f"{slower:+.0%}: shown", (found.beyond | found.open)[:, 0])
    return {name: {key: float(np.mean(each)) for key, each in told.items()} for name, told in counts.items()}


class Ended(NamedTuple):
    """How comparisons with interim analyses end.

    Attributes:
        beyond: share that is worse.
        equal: share that is equivalent.
        open: share that is different with its size open, at the last analysis.
        blocks: mean number, if the first of *worse* and *equivalent* ends it.
    """

    beyond: float
    equal: float
    open: float
    blocks: float


def looked(looks: int, slower: float, spread: float, repeats: int) -> Ended:
    """Blocks are looked at several times, until one pair is decided by `ours` at the levels of its analyses."""
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
    open_R = ~(beyond_R | equal_R) & (means_R > wide_R)
    return Ended(*(float(each.mean()) for each in (beyond_R, equal_R, open_R, blocks_R)))


def cell(share: float, repeats: int) -> str:
    """A share with its simulation error, where that can be seen."""
    error = math.sqrt(share * (1 - share) / repeats)
    return f"{share:.3f}" + f" ± {error:.3f}" * (error >= 0.0005)


def rows(heads: Sequence[str]) -> None:
    print(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")


def print_rules(repeats: int) -> None:
    """Print what the rules cost, by processes and family."""
    keys = {
        "any mark": "none differs: any mark",
        "any beyond": "all +2 %: any *worse*",
        "+2%: worse": "+2 %: *worse*",
        "+2%: equivalent": "+2 %: *equivalent*",
        "+3%: worse": "+3 %: *worse*",
        "+3%: shown": "+3 %: shown",
        "+5%: worse": "+5 %: *worse*",
        "+1%: equivalent": "+1 %: *equivalent*",
        "equal: equivalent": "equal: *equivalent*",
    }
    rows(["processes", "pairs", "rule", *keys.values()])
    for n in NUMBERS:
        for pairs in FAMILIES:
            for name, found in shares(n, pairs, repeats).items():
                cells = [cell(found[key], repeats) for key in keys]
                print(f"| {n} | {pairs} | {name} | {' | '.join(cells)} |", flush=True)


def print_looks(repeats: int) -> None:
    """Print what interim analyses cost and save."""
    slowdowns = (0.0, 0.01, MARGIN, 0.03, 0.05)
    rows(["block sd", "analyses", *(f"{each:+.0%}: *worse* · *equivalent* · size open; blocks" for each in slowdowns)])
    for spread in SPREADS:
        for looks in (1, 4, 20):
            found = [looked(looks, slower, spread, repeats) for slower in slowdowns]
            cells = [f"{a:.3f} · {b:.3f} · {c:.3f}; {blocks:.1f}" for a, b, c, blocks in found]
            print(f"| {spread:.1%} | {looks} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20000, help="of each cell, in thousands (%(default)s)")
    repeats = 1000 * math.ceil(parser.parse_args().repeats / 1000)
    print_rules(repeats)
    print()
    print_looks(repeats)


if __name__ == "__main__":
    main()
