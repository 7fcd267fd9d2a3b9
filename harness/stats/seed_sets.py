"""Several sets of seeds of the same models: they are pooled, and each is one look at the seeds so far.

A set that was trained because an earlier one decided nothing must not replace it: whoever may take the newest set calls equal
arms different more often than in 5 %. So means and counts are over all seeds, and intervals and p-values are those of the last
look, at the level that the looks before it left (`group_sequential.py`). `tests/bench/seed_sets.py` measures the error.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from modbench.harness.stats import exact_two_proportions, group_sequential
from modbench.harness.stats.alpha_spending import LEAST_FRACTION
from modbench.harness.stats.contrast import ByClock, Contrast, Direction, Rule, Side, contrast
from modbench.harness.stats.effects import LEVEL, Effect, detectable, over_launches
from modbench.harness.stats.interim import Analysis
from modbench.harness.stats.reason import Reason


@dataclass(frozen=True)
class SetLook:
    """Which look at the seeds of two arms it is.

    Attributes:
        number: from 1.
        fractions: share of the seeds of the last look at every look.
        total: seeds of each arm at the last look.
    """

    number: int = 1
    fractions: tuple[float, ...] = (1.0,)
    total: int = 0

    def level_at(self, error: float = 1 - LEVEL) -> float:
        """The two-sided p-value that this look must come below, so that all looks together err in so many runs."""
        if len(self.fractions) == 1:
            return error
        return group_sequential.levels_of(self.fractions, self.total, error)[self.number - 1]

    @property
    def reason(self) -> Reason | None:
        """What an interval of it allows for; None of a single look."""
        looks = len(self.fractions)
        return Reason("look", number=self.number, looks=looks) if looks > 1 else None

    def of_counts(self, solved: tuple[int, int], other: tuple[int, int]) -> Effect:
        """Compare how many seeds of two arms solved a task, each of so many."""
        effect = exact_two_proportions.compare(*solved, *other, self.level_at())
        assert effect.p is not None
        return replace(effect, p=self._repeated(effect.p), reason=self.reason)

    def _repeated(self, p: float) -> float:
        return group_sequential.repeated_p(p, self.number, self.fractions, self.total)

    def of_values(self, values: Collection[float]) -> Effect:
        """Mean of values of seeds, such as differences of two arms, with the interval and the p-value of this look."""
        effect = over_launches([*values])
        if len(self.fractions) == 1 or effect.p is None or effect.sd is None:
            return effect
        found = group_sequential.look([*values], [0.0] * len(values), self.number, self.fractions, None, paired=True)
        return replace(
            effect,
            low=found.low,
            high=found.high,
            low90=found.low90,
            high90=found.high90,
            mde=detectable(effect.sd, effect.n, self.level_at()),
            p=self._repeated(effect.p),
            reason=self.reason,
        )


ONE_LOOK = SetLook()


@dataclass(frozen=True)
class SeedSets:
    """The sets of seeds of a report, in the order in which they were trained.

    Attributes:
        sets: the seeds of each.
        planned: how many sets the suite plans to look at.
    """

    sets: tuple[tuple[int, ...], ...]
    planned: int = 1

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of all sets."""
        return tuple(seed for each in self.sets for seed in each)

    def look(self, *arms: Collection[int]) -> SetLook:
        """Say which look the seeds of some arms are; sets in which one of them has none are no look at them.

        Args:
            arms: the seeds of each arm that left a value.
        """
        numbers, seeds = list[int](), 0
        for each in self.sets:
            more = min(len({*each} & {*arm}) for arm in arms)
            seeds += more
            numbers += [seeds] if more else []
        if not numbers:
            return ONE_LOOK
        # Sets to come are taken to be as large as those that are there are on average.
        done = len(numbers)
        numbers += [round(seeds * number / done) for number in range(done + 1, self.planned + 1)]
        # So early a look spends nothing.
        kept = [number for number in numbers if number >= LEAST_FRACTION * numbers[-1]]
        return SetLook(done - (len(numbers) - len(kept)), group_sequential.fractions_of(kept), numbers[-1])

    def contrast(self, base: Mapping[int, float], new: Mapping[int, float], better: Direction) -> Contrast:
        """Compare losses or accuracies seed by seed, over the seeds that both sides have."""
        seeds = sorted(base.keys() & new.keys())
        look = self.look(seeds)
        mine, theirs = (Side(ByClock({seed: side[seed] for seed in seeds})) for side in (new, base))
        rule = Rule("loss", 0.0, better, Analysis(look.number, look.fractions, look.total))
        return contrast(theirs, mine, "interleaved", rule)
