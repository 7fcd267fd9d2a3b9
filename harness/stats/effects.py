"""Effects from raw samples. The launch is the unit of evidence: samples of different launches are never pooled.

Protocol (docs/method-timing.md): in each block, d = mean log t(arm) - mean log t(anchor); a launch's effect is the median of
its blocks' d; the result is the mean of the launch effects with a t-interval over launches. A bootstrap of pooled samples
covers less than half where launches differ by as much as blocks; this covers 95 %. No function here takes samples of several
launches as one list.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

import numpy as np
from scipy import special

from modbench.harness.stats import block_effects
from modbench.harness.stats.block_effects import Columns
from modbench.harness.stats.memo import remembered
from modbench.harness.stats.reason import Reason

LEVEL = 0.95
POWER = 0.8


@dataclass(frozen=True)
class Effect:
    """An estimate with its interval, on the log scale for times and on the plain scale for losses.

    Attributes:
        value: mean over launches or seeds.
        low: lower end of the 95 % interval; None where there is none.
        high: upper end.
        low90: lower end of the 90 % interval, for the equivalence test.
        high90: upper end.
        mde: smallest true effect that would be detected with 80 % power.
        sd: standard deviation between launches; None from fewer than two.
        p: two-sided p-value of no effect; None where there is none.
        n: launches or seeds.
        reason: why there is no interval, or what it does not cover.
    """

    value: float
    low: float | None = None
    high: float | None = None
    low90: float | None = None
    high90: float | None = None
    mde: float | None = None
    sd: float | None = None
    p: float | None = None
    n: int = 1
    reason: Reason | None = None

    @property
    def ratio(self) -> tuple[float, float | None, float | None]:
        """Of an effect on the log scale the ratio and the ends of its interval."""
        low, high = (None if end is None else math.exp(end) for end in (self.low, self.high))
        return math.exp(self.value), low, high

    @property
    def excludes_0(self) -> bool:
        """Whether it has an interval, and that lies on one side of 0."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high

    def mirrored(self) -> Effect:
        """The effect on the inverse: of a time, its rate."""
        ends = {"low": self.high, "high": self.low, "low90": self.high90, "high90": self.low90}
        turned = {name: None if end is None else -end for name, end in ends.items()}
        return Effect(-self.value, **turned, mde=self.mde, sd=self.sd, p=self.p, n=self.n, reason=self.reason)

    def shifted(self, by: float) -> Effect:
        """The effect plus a known amount: for a quantity derived from a time."""
        ends = {
            name: None if getattr(self, name) is None else getattr(self, name) + by
            for name in ("low", "high", "low90", "high90")
        }
        p = None if self.p is None or self.sd is None else _p_value(self.value + by, self.sd, self.n)
        return Effect(self.value + by, **ends, mde=self.mde, sd=self.sd, p=p, n=self.n, reason=self.reason)


def by_seed(mine: Mapping[int, float], theirs: Mapping[int, float]) -> Effect:
    """Return the mean of the differences, seed by seed, with its interval over the seeds that both have."""
    return over_launches([mine[seed] - theirs[seed] for seed in sorted(mine.keys() & theirs.keys())])


@dataclass(frozen=True)
class Launch:
    """Result of one launch for a pair: the effect, and the block effects whose median it is (by round, if no anchor)."""

    effect: float
    within: tuple[float, ...]


@remembered
def pair_in_launch(arm: Columns | None, base: Columns | None, anchor: Columns, column: str = "wall_s") -> Launch | None:
    """Compare an arm with a base in one launch, through the anchor that was in every block.

    Args:
        arm: the arm's samples; None if it is the anchor.
        base: the base's samples; None if it is the anchor.
        anchor: the anchor's samples.
        column: what is compared.

    Returns:
        Positive where the arm took longer; None where the two share no block with the anchor.
    """
    mine, theirs = (None if side is None else _against(side, anchor, column) for side in (arm, base))
    if (mine is not None and not mine.rounds) or (theirs is not None and not theirs.rounds):
        return None
    if mine is not None and theirs is not None:
        shared = sorted(mine.rounds.keys() & theirs.rounds.keys())
        within = [mine.rounds[key] - theirs.rounds[key] for key in shared]
    else:
        sign, one = (1, mine) if theirs is None else (-1, theirs)
        within = [sign * effect for effect in (one.rounds if one else {}).values()]
    return Launch((mine.median if mine else 0.0) - (theirs.median if theirs else 0.0), tuple(within))


class _Side(NamedTuple):
    """An arm's block effects against the anchor, by round, and their median (0 of none)."""

    rounds: dict[float, float]
    median: float


@remembered
def _against(side: Columns, anchor: Columns, column: str) -> _Side:
    rounds = block_effects.by_round(side, block_effects.differences(side, anchor, column))
    return _Side(rounds, median(rounds.values()) if rounds else 0.0)


def over_launches(values: Sequence[float], within: Sequence[float] | None = None) -> Effect:
    """Mean and t-interval of launch effects (or of per-seed differences).

    Args:
        values: one effect per launch.
        within: with a single launch, its block effects; they give an order-statistic interval of the median that says
            nothing about other launches.
    """
    n = len(values)
    array = np.asarray(values, dtype=float)
    # As numpy's mean and std compute them, whose checks of their arguments take ten times as long: a report has thousands.
    mean = float(np.add.reduce(array) / n)
    rest = array - mean
    sd = math.sqrt(np.add.reduce(rest * rest) / (n - 1)) if n >= 2 else None
    if n >= 3:
        assert sd is not None
        s = sd / math.sqrt(n)
        t95, t90 = (t_quantile(q, n) for q in (0.975, 0.95))
        ends = (mean - t95 * s, mean + t95 * s, mean - t90 * s, mean + t90 * s, detectable(sd, n))
        return Effect(mean, *ends, sd=sd, p=_p_value(mean, sd, n), n=n)
    if n == 1 and within is not None:
        interval = median_interval(within)
        if interval is None:
            return Effect(mean, n=1, reason=Reason("few_blocks", n=len(within)))
        return Effect(mean, *interval, n=1, reason=Reason("within_launch"))
    return Effect(mean, sd=sd, n=n, reason=Reason("few_values", n=n))


def detectable(sd: float, n: int, level: float = 1 - LEVEL) -> float:
    """Smallest true effect that n values tell from none at a two-sided level with 80 % power, as a sum of two quantiles.

    That of the non-central t, by which numbers are advised (`sample_size.py`), is 5 % larger at three values, 1 % at five.
    """
    return (t_quantile(1 - level / 2, n) + t_quantile(POWER, n)) * (sd / math.sqrt(n))


@functools.cache
def t_quantile(share: float, n: int) -> float:
    """Quantile of Student's t for the mean of n values."""
    return float(special.stdtrit(n - 1, share))


def _p_value(mean: float, sd: float, n: int) -> float:
    if sd == 0:
        return 1.0 if mean == 0 else 0.0
    # Student's t beyond the value; `stats.t.sf` calls the same function, after checks that take a hundred times as long.
    return float(2 * special.stdtr(n - 1, -(abs(mean) / (sd / math.sqrt(n)))))


def median_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float] | None:
    """Order-statistic (binomial) interval of the median, or None if there are too few values for the level."""
    ordered = sorted(values)
    n = len(ordered)
    # The quantile of the binomial distribution, without the second that the import of all of scipy's takes.
    rank = int(np.searchsorted(special.bdtr(np.arange(n + 1), n, 0.5), (1 - level) / 2))
    if rank < 1:
        return None
    return ordered[rank - 1], ordered[n - rank]


def share_interval(hits: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Exact (Clopper-Pearson) interval of a share."""
    tail = (1 - level) / 2
    low = float(special.betaincinv(hits, n - hits + 1, tail)) if hits else 0.0
    high = float(special.betaincinv(hits + 1, n - hits, 1 - tail)) if hits < n else 1.0
    return low, high


@dataclass(frozen=True)
class InputSpread:
    """How much a cost depends on the input.

    Attributes:
        sd: standard deviation between inputs, on the log scale, without noise.
        p: p-value of no dependence (analysis of variance over blocks, by launch and input).
        inputs: number of inputs that were measured more than once.
    """

    sd: float
    p: float
    inputs: int


def input_spread(launches: Sequence[tuple[Columns, Columns]]) -> InputSpread | None:
    """Spread between inputs of an arm's time relative to the anchor's in the same block.

    Args:
        launches: the arm's and the anchor's samples, launch by launch; each launch is centred on its own mean first.

    Returns:
        None where fewer than two inputs were measured twice.
    """
    groups: dict[int, list[float]] = {}
    for arm, anchor in launches:
        effects = block_effects.differences(arm, anchor)
        middle = float(np.mean(list(effects.values()))) if effects else 0.0
        input_of = dict(zip(arm["block"], arm["input"], strict=True))
        for block, effect in effects.items():
            groups.setdefault(int(input_of[block]), []).append(effect - middle)
    seen = [np.array(group) for group in groups.values() if len(group) > 1]
    n = sum(map(len, seen))
    # Centring every launch takes a degree of freedom from each.
    left = n - len(seen) - (len(launches) - 1)
    if len(seen) < 2 or left < 1:
        return None
    within = sum(float(((group - group.mean()) ** 2).sum()) for group in seen) / left
    grand = np.concatenate(seen).mean()
    between = sum(len(group) * float((group.mean() - grand) ** 2) for group in seen) / (len(seen) - 1)
    p = float(special.fdtrc(len(seen) - 1, left, between / within)) if within else float(between == 0)
    size = (n - sum(len(group) ** 2 for group in seen) / n) / (len(seen) - 1)
    return InputSpread(math.sqrt(max(0.0, (between - within) / size)), p, len(seen))


def adjusted(p_values: Mapping[int, float]) -> dict[int, float]:
    """Adjust the p-values of a family of comparisons by Holm: any false finding among them has at most the level's probability.

    That holds however they depend on each other (Holm 1979, doi:10.2307/4615733).
    """
    most, found = 0.0, {}
    for below, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        most = max(most, min(1.0, p_values[name] * (len(p_values) - below)))
        found[name] = most
    return {name: found[name] for name in p_values}


def by_chance(families: int) -> int:
    """Most findings in one direction that chance gives in so many families, where nothing differs.

    In each, a direction has half of the level. In 1 % more families have a finding than this; what is left of the 5 % is for
    families that have several. `tests/bench/families.py` simulates how often there are more.
    """
    counts = np.arange(families + 1)
    return int(np.searchsorted(special.bdtr(counts, families, (1 - LEVEL) / 2), 0.99))
