"""Effects from raw samples. The process is the unit of evidence: samples of different processes are never pooled.

Protocol (docs/method-timing.md): in each block, d = mean log t(variant) - mean log t(anchor); a process's effect is the median of
its blocks' d; the result is the mean of the process effects with a t-interval over processes. A bootstrap of pooled samples
covers less than half where processes differ by as much as blocks; this covers 95 %. No function here takes samples of several
processes as one list.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
from scipy import special

from modbench.harness.stats.interim import ONE, Analysis
from modbench.harness.stats.noise import Floats, Ints
from modbench.harness.stats.reason import Reason

LEVEL = 0.95
POWER = 0.8
# With fewer values there is no interval.
FEWEST, FEWEST_ROUNDS = 3, 6
# Standard deviations of a normal distribution per median absolute deviation, and of its median per that of its mean.
SIGMA_PER_MAD = 1.4826
MEDIAN_PENALTY = 1.2533


def robust_sd(values: Sequence[float]) -> float:
    """Robust standard deviation, 1.4826 times the median absolute deviation."""
    middle = median(values)
    return SIGMA_PER_MAD * median(abs(value - middle) for value in values)


@dataclass(frozen=True)
class Effect:
    """An estimate with its interval, on the log scale for times and on the plain scale for losses.

    Attributes:
        value: mean over processes or seeds.
        low: lower end of the 95 % interval; None where there is none.
        high: upper end.
        low90: lower end of the 90 % interval, for the equivalence test.
        high90: upper end.
        detectable: smallest true effect that would be detected with 80 % power.
        sd: standard deviation between processes; None from fewer than two.
        p: two-sided p-value of no effect; None where there is none.
        n: processes or seeds.
        reason: why there is no interval, or what it does not cover.
        error: standard error of the value; None where there is no interval over processes or seeds.
        freedom: degrees of freedom of that error.
    """

    value: float
    low: float | None = None
    high: float | None = None
    low90: float | None = None
    high90: float | None = None
    detectable: float | None = None
    sd: float | None = None
    p: float | None = None
    n: int = 1
    reason: Reason | None = None
    error: float | None = None
    freedom: float = math.inf

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
        low, high, low90, high90 = (
            None if end is None else -end for end in (self.high, self.low, self.high90, self.low90)
        )
        return replace(self, value=-self.value, low=low, high=high, low90=low90, high90=high90)

    def shifted(self, by: float) -> Effect:
        """The effect plus a known amount: for a quantity derived from a time."""
        ends = (self.low, self.high, self.low90, self.high90)
        low, high, low90, high90 = (None if end is None else end + by for end in ends)
        value = self.value + by
        tested = self.p is not None and self.error is not None
        p = 2 * t_below(-abs(value), self.error or 0.0, self.freedom) if tested else None
        return replace(self, value=value, low=low, high=high, low90=low90, high90=high90, p=p)


def by_seed(mine: Mapping[int, float], theirs: Mapping[int, float]) -> Effect:
    """Return the mean of the differences, seed by seed, with its interval over the seeds that both have."""
    return over_processes([mine[seed] - theirs[seed] for seed in sorted(mine.keys() & theirs.keys())])


def over_processes(values: Sequence[float], within: Sequence[float] | None = None, analysis: Analysis = ONE) -> Effect:
    """Mean and t-interval of process effects (or of per-seed differences).

    Args:
        values: one effect per process.
        within: with a single process, its block effects; they give an order-statistic interval of the median that says
            nothing about other processes.
        analysis: which interim analysis it is: its intervals and p-value allow for all of them.
    """
    n = len(values)
    mean, sd = _mean_and_sd(values)
    if n >= FEWEST:
        return _estimated(mean, sd / math.sqrt(n), n - 1, sd, n, analysis)
    if n == 1 and within is not None:
        interval = median_interval(within)
        if interval is None:
            return Effect(mean, n=1, reason=Reason("few_blocks", n=len(within)))
        return Effect(mean, *interval, n=1, reason=Reason("one_process"))
    return Effect(mean, sd=sd if n >= 2 else None, n=n, reason=Reason("few_values", n=n))


def welch(mine: Sequence[float], theirs: Sequence[float], analysis: Analysis = ONE) -> Effect:
    """Mean of one sample minus that of an independent one, whose variances may differ (Welch & Satterthwaite)."""
    sides = [(*_mean_and_sd(values), len(values)) for values in (mine, theirs)]
    n, value = min(count for *_, count in sides), sides[0][0] - sides[1][0]
    if n < FEWEST:
        return Effect(value, n=n, reason=Reason("few_processes_of_each"))
    parts = [sd * sd / count for _, sd, count in sides]
    freedom = welch_freedom(parts, [count - 1 for *_, count in sides])
    return _estimated(value, math.sqrt(sum(parts)), freedom, math.hypot(sides[0][1], sides[1][1]), n, analysis)


def welch_freedom(parts: Sequence[float], freedoms: Sequence[float]) -> float:
    """Return the degrees of freedom of a sum of variances (Welch & Satterthwaite).

    Args:
        parts: the variances.
        freedoms: degrees of freedom of each.
    """
    # Scaled, so that the squares of small variances do not vanish.
    whole = sum(parts)
    if not whole:
        return float(sum(freedoms))
    return 1 / sum((part / whole) ** 2 / freedom for part, freedom in zip(parts, freedoms, strict=True))


def _mean_and_sd(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation, 0 of one value, as numpy computes them, whose checks of arguments take ten times as long."""
    array = np.asarray(values, dtype=float)
    n = len(array)
    mean = float(np.add.reduce(array) / n)
    rest = array - mean
    return mean, math.sqrt(np.add.reduce(rest * rest) / (n - 1)) if n >= 2 else 0.0


def _estimated(value: float, error: float, freedom: float, sd: float, n: int, analysis: Analysis) -> Effect:
    """An estimate with the intervals, the detectable effect and the p-value that an analysis leaves."""
    level = analysis.level_at(1 - LEVEL)
    half95, half90 = (quantile(1 - each / 2, freedom) * error for each in (level, analysis.level_at(2 - 2 * LEVEL)))
    return Effect(
        value,
        low=value - half95,
        high=value + half95,
        low90=value - half90,
        high90=value + half90,
        detectable=half95 + quantile(POWER, freedom) * error,
        sd=sd,
        p=analysis.repeated(2 * t_below(-abs(value), error, freedom)),
        n=n,
        reason=analysis.reason,
        error=error,
        freedom=freedom,
    )


def t_below(distance: float, error: float, freedom: float) -> float:
    """Probability that Student's t, times a standard error, lies below a distance; `stats.t.cdf` takes a hundred times longer."""
    if error == 0:
        return 0.5 if distance == 0 else float(distance > 0)
    return float(special.stdtr(freedom, distance / error))


def detectable(sd: float, n: int, level: float = 1 - LEVEL) -> float:
    """Smallest true effect that n values tell from none at a two-sided level with 80 % power, as a sum of two quantiles.

    That of the non-central t, by which numbers are advised (`power.py`), is 5 % larger at three values, 1 % at five.
    """
    return (t_quantile(1 - level / 2, n) + t_quantile(POWER, n)) * (sd / math.sqrt(n))


@functools.cache
def quantile(share: float, freedom: float) -> float:
    """Quantile of Student's t."""
    return float(special.stdtrit(freedom, share))


def t_quantile(share: float, n: int) -> float:
    """Quantile of Student's t for the mean of n values."""
    return quantile(share, n - 1)


def median_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float] | None:
    """Order-statistic (binomial) interval of the median, or None if there are too few values for the level."""
    ordered = sorted(values)
    n = len(ordered)
    # The quantile of the binomial distribution, without the second that the import of all of scipy's takes.
    rank = int(np.searchsorted(special.bdtr(np.arange(n + 1), n, 0.5), (1 - level) / 2))
    if rank < 1:
        return None
    return ordered[rank - 1], ordered[n - rank]


def over_rounds(values: Sequence[float]) -> Effect:
    """Median of the effects of rounds of one process, with order-statistic intervals and a sign test: noise may have any shape.

    The interval says how exactly this process was measured. It does not hold what differs between processes: memory layout, hash
    seed, caches.
    """
    wide, narrow = median_interval(values), median_interval(values, 0.9)
    if wide is None or narrow is None:
        return Effect(median(values), n=1, reason=Reason("few_rounds", n=len(values), needed=FEWEST_ROUNDS))
    return Effect(median(values), *wide, *narrow, p=_sign_test(values), n=1, reason=Reason("within_process"))


def _sign_test(values: Sequence[float]) -> float:
    """Two-sided p-value of a median of 0."""
    above, below = (sum(value * sign > 0 for value in values) for sign in (1, -1))
    return min(1.0, 2 * float(special.bdtr(min(above, below), above + below, 0.5)))


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
        p: p-value of no dependence (analysis of variance over blocks, by process and input).
        inputs: number of inputs that were measured more than once.
    """

    sd: float
    p: float
    inputs: int


def input_spread(processes: Sequence[tuple[Floats, Ints]]) -> InputSpread | None:
    """Spread between inputs of a variant's time relative to the anchor's in the same block.

    Args:
        processes: the effects of the blocks and their inputs, process by process; each process is centred on its own mean first.

    Returns:
        None where fewer than two inputs were measured twice.
    """
    process = np.repeat(np.arange(len(processes)), [len(each) for each, _ in processes])
    effects = np.concatenate([each for each, _ in processes])
    effects = effects - (np.bincount(process, effects) / np.maximum(np.bincount(process), 1))[process]
    group = np.concatenate([each for _, each in processes])
    counts = np.bincount(group)
    again = counts[group] > 1
    effects, group = effects[again], group[again]
    groups, n = int((counts > 1).sum()), len(effects)
    # Centring every process takes a degree of freedom from each.
    left = n - groups - (len(processes) - 1)
    if groups < 2 or left < 1:
        return None
    of, size = np.bincount(group, effects, len(counts)) / np.maximum(counts, 1), counts[counts > 1]
    within = float(((effects - of[group]) ** 2).sum()) / left
    between = float((size * (of[counts > 1] - effects.mean()) ** 2).sum()) / (groups - 1)
    p = float(special.fdtrc(groups - 1, left, between / within)) if within else float(between == 0)
    typical = (n - float((size**2).sum()) / n) / (groups - 1)
    return InputSpread(math.sqrt(max(0.0, (between - within) / typical)), p, groups)


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
