"""Two arms' losses over seeds, looked at several times: the interval of a look, the verdict, and whether to stop.

The interval of each look is a repeated confidence interval (Jennison & Turnbull 1989): the difference of means, give or take a
t quantile at the level that `spending.boundaries` allows the look. With 95 % all of them hold the true difference together,
whatever makes somebody stop, so that the interval of the look at which it stopped is the one to print. Normal boundaries become
t quantiles by their p-values (Pocock 1977; Jennison & Turnbull 2000), which alone errs a little too often where seeds are few:
`guarded` lowers the level for it. `tests/bench/sequential.py` measures the error.

The difference of the means is a little too large in most runs that stop early, since a look stops where the difference is large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scipy import special

from modbench.harness.stats.alpha_spending import LEVEL, boundaries

# With fewer seeds of an arm there is no interval, as everywhere else.
FEWEST = 3
# The first of several looks: with fewer seeds its interval is so wide that it could not stop anything.
FIRST = 4
LOOKS = 4
# Between these a repeated p-value is searched for.
SMALLEST_P, LARGEST_P = 1e-12, 0.999

Verdict = Literal["better", "worse", "equivalent", "undecided"]


@dataclass(frozen=True)
class Looked:
    """The result of a look at the seeds so far. Differences are mine minus theirs, in nats: below 0 mine is better.

    Attributes:
        number: which look it was, from 1.
        looks: of how many.
        seeds: of each arm, mine first.
        difference: of the means.
        low: lower end of the repeated 95 % interval; None with fewer than three seeds of an arm.
        high: upper end.
        low90: lower end of the repeated 90 % interval, for the equivalence test.
        high90: upper end.
        sds: standard deviation over seeds of each arm; of the differences alone, if paired; empty with fewer than two.
        freedom: degrees of freedom of the interval.
        level: two-sided p-value that this look had to come below.
        verdict: `equivalent`: the 90 % interval lies inside the margin (two one-sided tests); else `better` or `worse`: the
            95 % interval excludes 0; else `undecided`.
        stop: whether something was decided, or this was the last look.
    """

    number: int
    looks: int
    seeds: tuple[int, int]
    difference: float
    low: float | None
    high: float | None
    low90: float | None
    high90: float | None
    sds: tuple[float, ...]
    freedom: float | None
    level: float
    verdict: Verdict
    stop: bool

    @property
    def excludes_zero(self) -> bool:
        """Whether the 95 % interval does; an `equivalent` arm may be better or worse by less than the margin."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def schedule(total: int, looks: int = LOOKS, first: int = FIRST) -> tuple[int, ...]:
    """Return the number of seeds of an arm at each look: at even distances, none before `first`.

    Args:
        total: seeds at the last look.
        looks: at most so many.
        first: seeds at the first look, at least.

    Raises:
        ValueError: with fewer than three seeds, or no look.
    """
    if total < FEWEST or looks < 1:
        raise ValueError(
            f"{total} seeds and {looks} looks make no plan: at least {FEWEST} seeds and one look are needed"
        )
    even = (math.ceil(total * number / looks) for number in range(1, looks + 1))
    return tuple(sorted({min(total, max(first, seeds)) for seeds in even}))


def fractions_of(numbers: Sequence[int]) -> tuple[float, ...]:
    """Return the share of the last look's seeds that each look has."""
    return tuple(each / numbers[-1] for each in numbers)


def guarded(level: float, total: int, looks: int) -> float:
    """Return the level to spend on the looks of a plan, so that t quantiles in place of normal boundaries keep to it.

    The t values of several looks depend on each other less than normal ones, which the boundaries count on. In simulations of
    200,000 plans the error of 5 % became up to 5.2 % with 20 to 32 seeds of each arm, 5.4 % with 16, 5.6 % with 6, and 6.1 % with
    6 if one arm spread five times as much. With the level lowered by a share of one seed in all it is 5.2 % there, else at most
    5.1 %.

    Args:
        level: two-sided error of all looks together.
        total: seeds of each arm at the last look.
        looks: of the plan; one look needs no guard.
    """
    return level if looks == 1 else level * (1 - 1 / total)


def levels_of(fractions: Sequence[float], total: int, level: float = LEVEL) -> tuple[float, ...]:
    """Return the two-sided p-value that each look must come below by its t quantiles, so that all together keep to a level.

    Args:
        fractions: share of the planned seeds at every look.
        total: seeds of each arm at the last look.
        level: two-sided error of all looks together.
    """
    return boundaries(fractions, guarded(level, total, len(fractions)))


def repeated_p(p: float, number: int, fractions: Sequence[float], total: int) -> float:
    """Return the smallest error of all looks together at which a look with this p-value calls a difference.

    That is the repeated p-value of Jennison & Turnbull (2000, chapter 9). It is at most 5 % where `look`'s interval excludes 0,
    and several of them may be adjusted for their number as other p-values are.

    Args:
        p: two-sided, of the look alone.
        number: which look it is, from 1.
        fractions: share of the planned seeds at every look.
        total: seeds of each arm at the last look.
    """
    if len(fractions) == 1:
        return p
    from scipy import optimize  # needed after several looks alone

    def beyond(exponent: float) -> float:
        return levels_of(fractions, total, math.exp(exponent))[number - 1] - p

    least, most = math.log(SMALLEST_P), math.log(LARGEST_P)
    if beyond(most) <= 0:
        return 1.0
    return SMALLEST_P if beyond(least) >= 0 else math.exp(optimize.brentq(beyond, least, most, xtol=1e-9))


def look(
    mine: Sequence[float],
    theirs: Sequence[float],
    number: int,
    fractions: Sequence[float],
    margin: float | None,
    *,
    paired: bool,
    level: float = LEVEL,
) -> Looked:
    """Look at the losses so far.

    Args:
        mine: losses of one arm, in nats, one per seed.
        theirs: losses of the other; seed by seed the same, if paired.
        number: which look it is, from 1.
        fractions: share of the planned seeds at every look, as `fractions_of` makes them.
        margin: differences up to this one, in nats, do not matter; None: equivalence is not asked.
        paired: whether pairs of seeds are compared, or two independent samples (Welch).
        level: two-sided error of all looks together.

    Raises:
        ValueError: where this is no look of the plan, the samples cannot be paired, or the margin is not above 0.
    """
    if not 1 <= number <= len(fractions):
        raise ValueError(f"there is no look {number} of {len(fractions)}")
    if margin is not None and not margin > 0:
        raise ValueError(f"the margin must be above 0, not {margin}")
    middle, error, freedom, sds = _standard_error(mine, theirs, paired=paired)
    last = number == len(fractions)
    few = min(len(mine), len(theirs))
    total = max(FEWEST, round(few / fractions[number - 1]))
    levels, levels90 = (levels_of(fractions, total, each) for each in (level, 2 * level))
    wide, narrow = levels[number - 1], levels90[number - 1]
    if error is None or freedom is None or few < FEWEST:
        place = (number, len(fractions), (len(mine), len(theirs)), middle)
        return Looked(*place, None, None, None, None, sds, freedom, wide, "undecided", stop=last)
    low, high = ends(middle, error, freedom, wide)
    low90, high90 = ends(middle, error, freedom, narrow)
    said: Verdict = "undecided"
    if margin is not None and -margin < low90 and high90 < margin:
        said = "equivalent"
    elif high < 0:
        said = "better"
    elif low > 0:
        said = "worse"
    return Looked(
        number=number,
        looks=len(fractions),
        seeds=(len(mine), len(theirs)),
        difference=middle,
        low=low,
        high=high,
        low90=low90,
        high90=high90,
        sds=sds,
        freedom=freedom,
        level=wide,
        verdict=said,
        stop=last or said != "undecided",
    )


def ends(middle: float, error: float, freedom: float, level: float) -> tuple[float, float]:
    """Return the t interval around an estimate, at a two-sided level."""
    half = float(-special.stdtrit(freedom, level / 2)) * error
    return middle - half, middle + half


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


def _standard_error(
    mine: Sequence[float], theirs: Sequence[float], *, paired: bool
) -> tuple[float, float | None, float | None, tuple[float, ...]]:
    """The difference of the means, its standard error, degrees of freedom, and the standard deviations behind it."""
    if paired and len(mine) != len(theirs):
        raise ValueError(f"{len(mine)} and {len(theirs)} seeds cannot be paired")
    if not mine or not theirs:
        raise ValueError("an arm has no seed")
    samples = [[a - b for a, b in zip(mine, theirs, strict=True)]] if paired else [mine, theirs]
    means = [math.fsum(sample) / len(sample) for sample in samples]
    middle = means[0] if paired else means[0] - means[1]
    if min(map(len, samples)) < 2:
        return middle, None, None, ()
    variances = [
        math.fsum((each - mean) ** 2 for each in sample) / (len(sample) - 1)
        for sample, mean in zip(samples, means, strict=True)
    ]
    parts = [variance / len(sample) for variance, sample in zip(variances, samples, strict=True)]
    freedom = welch_freedom(parts, [len(sample) - 1 for sample in samples])
    return middle, math.sqrt(sum(parts)), freedom, tuple(map(math.sqrt, variances))
