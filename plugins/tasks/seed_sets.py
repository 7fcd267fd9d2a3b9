"""Several sets of seeds of the same models: they are pooled, and each is one analysis of the seeds so far.

A set that was trained because an earlier one decided nothing must not replace it: whoever may take the newest set calls equal
variants different more often than in 5 %. So means and counts are over all seeds, and intervals and p-values are those of the
last analysis, at the level that those before it left (`interim.py`). `tests/bench/seed_sets.py` measures the error.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from modbench.extend import LEAST_FRACTION, ONE, Analysis, analysis_at


@dataclass(frozen=True)
class SeedSets:
    """The sets of seeds of a report, in the order in which they were trained.

    Attributes:
        sets: the seeds of each.
        planned: how many sets the suite plans to look at.
    """

    sets: tuple[tuple[int, ...], ...]
    planned: int = 1

    def analysis(self, *variants: Collection[int]) -> Analysis:
        """Say which analysis the seeds of some variants are; sets in which one of them has none are none.

        Args:
            variants: the seeds of each variant that left a value.
        """
        numbers, seeds = list[int](), 0
        for each in self.sets:
            more = min(len({*each} & {*variant}) for variant in variants)
            seeds += more
            numbers += [seeds] if more else []
        if not numbers:
            return ONE
        # Sets to come are taken to be as large as those that are there are on average.
        done = len(numbers)
        numbers += [round(seeds * number / done) for number in range(done + 1, self.planned + 1)]
        # So early an analysis spends nothing.
        kept = [number for number in numbers if number >= LEAST_FRACTION * numbers[-1]]
        return analysis_at(done - (len(numbers) - len(kept)), kept)
