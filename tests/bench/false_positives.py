"""Identical models under a load generator: how often are they called different, interleaved and timed one after the other?

    python tests/bench/false_positives.py --comparisons 200 --load 3

Ours: interleaved blocks in launches that no two comparisons share, through the product's own runner. For comparison, in the same
minutes and with as many samples: A timed first and then B, in a process of its own, judged by tests that other tools use.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
from load import Launches, excludes_none, in_a_fresh_process, load, pairs_of, rms, twins, width

from modbench.commands.doctor import aa_comparisons
from modbench.harness.domain.records import Record
from modbench.harness.stats.effects import share_interval
from modbench.harness.stats.paired import Paired

MARGIN = 0.02
CLAIMS = ("better", "worse")


@dataclass
class Row:
    """The results of one design and test over all comparisons."""

    hits: list[bool] = field(default_factory=list)
    widths: list[float] = field(default_factory=list)
    log_ratios: list[float] = field(default_factory=list)

    def add(self, *, hit: bool, log_ratio: float, width: float | None = None) -> None:
        """Add a comparison."""
        self.hits.append(hit)
        self.log_ratios.append(log_ratio)
        if width is not None:
            self.widths.append(width)

    def line(self, name: str) -> str:
        """The row of the printed table."""
        low, high = share_interval(sum(self.hits), len(self.hits))
        wide = f"{median(self.widths):.1%}" if self.widths else "–"
        rate = f"{sum(self.hits)} of {len(self.hits)} ({np.mean(self.hits):.1%}, {100 * low:.1f}–{100 * high:.1f} %)"
        return f"| {name} | {rate} | {wide} | {rms(self.log_ratios):.1%} |"


def one_after_the_other(samples: int) -> dict[str, tuple[list[float], list[float]]]:
    """Wall and CPU seconds of all calls of A, then of all calls of B."""
    import time

    sides: list[tuple[list[float], list[float]]] = []
    for call in twins():
        wall, cpu = [], []
        for _ in range(samples):
            start, busy = time.perf_counter(), time.thread_time()
            call()
            cpu.append(time.thread_time() - busy)
            wall.append(time.perf_counter() - start)
        sides.append((wall, cpu))
    return {clock: (sides[0][i], sides[1][i]) for i, clock in enumerate(("wall", "CPU time"))}


def judged(a: Sequence[float], b: Sequence[float], rng: np.random.Generator) -> dict[str, tuple[bool, float | None]]:
    """By test: whether it calls the two different at 5 %, and the width of its interval of the ratio of medians."""
    from scipy import stats

    medians = [np.median(rng.choice(side, (2000, len(side))), axis=1) for side in (a, b)]
    low, high = np.percentile(medians[0] / medians[1], (2.5, 97.5))
    return {
        "Mann–Whitney": (bool(stats.mannwhitneyu(a, b).pvalue < 0.05), None),
        "Welch's t": (bool(stats.ttest_ind(a, b, equal_var=False).pvalue < 0.05), None),
        "bootstrap of the ratio of medians": (not low <= 1 <= high, float(high - low)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=200)
    parser.add_argument("--launches", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--load", type=int, default=3, help="processes of the load generator")
    parser.add_argument("--cold", action="store_true", help="a fresh interpreter for every launch")
    options = parser.parse_args()
    units = aa_comparisons.units(options.comparisons, "cpu", 1, launches=options.launches, rounds=options.rounds)
    records: list[Record] = []
    rows: dict[str, Row] = {}
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name, load(options.load):
        launches = Launches(Path(name), cold=options.cold)
        for i, unit in enumerate(units):
            records.append(launches.make(unit))
            if i % options.launches == 0:
                timed = in_a_fresh_process(one_after_the_other, 2 * options.launches * options.rounds)
                for clock, (a, b) in timed.items():
                    ratio = math.log(median(a) / median(b))
                    for test, (hit, wide) in judged(a, b, rng).items():
                        row = rows.setdefault(f"A then B, {clock}, {test}", Row())
                        row.add(hit=hit, log_ratio=ratio, width=wide)
            print(f"\r{i + 1} of {len(units)} launches", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(
        "| design, clock, statistic | called different | median interval width | RMS error |\n| --- | --- | --- | --- |"
    )
    found = pairs_of(records)
    for line in _ours(found):
        print(line)
    for title, row in rows.items():
        print(row.line(title))
    words = [pair.judged(MARGIN).word for pair in found]
    claims = sum(word in CLAIMS for word in words)
    print(
        f"\n{len(found)} comparisons of {options.launches} launches x {options.rounds} rounds, {options.load} processes "
        f"of load; {np.mean([pair.disturbed for pair in found]):.0%} of the blocks disturbed; {words.count('contaminated')} "
        f"comparisons labelled contaminated; wall time claims better or worse (margin {MARGIN:.0%}) in {claims}"
    )


def _ours(found: list[Paired]) -> list[str]:
    rows = {"wall": Row(), "CPU time": Row(), "wall, undisturbed samples": Row()}
    for pair in found:
        for name, effect in zip(rows, (pair.effect, pair.cpu, pair.clean), strict=True):
            if effect is not None:
                rows[name].add(hit=excludes_none(effect), log_ratio=effect.value, width=width(effect))
    return [row.line(f"**ours**, {name}, t-interval over launches") for name, row in rows.items() if row.hits]


if __name__ == "__main__":
    main()
