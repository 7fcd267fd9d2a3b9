"""How values are judged of which each seed leaves one, such as losses."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from modbench.harness.stats import effects
from modbench.harness.stats.interim import ONE, Analysis
from modbench.harness.stats.verdicts import ByClock, Contrast, Direction, Rule, Side, contrast


class Compared(NamedTuple):
    """What two cases are found to differ by, where means over seeds are not compared.

    Attributes:
        contrast: the comparison.
        difference: difference of the means; None where no seed has both.
        reason: what was compared, in words.
    """

    contrast: Contrast
    difference: float | None
    reason: str


class OverSeeds:
    """How values of a metric are judged of which each seed leaves one: by their mean over seeds.

    A table has its own for metrics whose comparisons it plans (`planning/suite_tables.py`).
    """

    def analysis(self, *sides: Collection[int]) -> Analysis:  # noqa: ARG002  # for others
        """Return which interim analysis the seeds of some variants are."""
        return ONE

    def estimate(self, case: str, values: Mapping[int, float]) -> effects.Effect:  # noqa: ARG002  # for others
        """Return the mean of a case's values by seed, with its interval."""
        return effects.over_processes([*values.values()], analysis=self.analysis(values))

    def contrast(self, base: Mapping[int, float], new: Mapping[int, float], better: Direction) -> Contrast:
        """Compare the values of two cases seed by seed, over the seeds that both have."""
        seeds = sorted(base.keys() & new.keys())
        mine, theirs = (Side(ByClock({seed: side[seed] for seed in seeds})) for side in (new, base))
        return contrast(theirs, mine, "interleaved", Rule("loss", 0.0, better, self.analysis(seeds)))

    def otherwise(self, case: str, baseline: str, better: Direction) -> Compared | None:  # noqa: ARG002  # for others
        """Compare two cases, by their ids, by something else than these means; None: they are compared by these."""
        return None
