"""How many seeds a comparison over several looks needs, from the spread that a pilot saw.

With what probability a look stops follows from the non-central t distribution. Looks depend on each other as sums of normal
values do; `tests/bench/sequential.py` holds the result against simulations. All numbers are seeds of each arm.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from scipy import special

from modbench.harness.stats import sample_size
from modbench.harness.stats.alpha_spending import LEVEL, crossed
from modbench.harness.stats.effects import POWER
from modbench.harness.stats.group_sequential import FEWEST, LOOKS, fractions_of, levels_of, schedule, welch_freedom

MOST_SEEDS = 2000


@dataclass(frozen=True)
class Spread:
    """Standard deviation of a loss over seeds, as a pilot estimated it.

    Attributes:
        sd: in nats.
        freedom: degrees of freedom behind it; infinite: known.
    """

    sd: float
    freedom: float = math.inf


@dataclass(frozen=True)
class Prospect:
    """What a plan promises if a difference and the spread are as assumed.

    Attributes:
        power: probability that some look excludes 0 on the right side.
        seeds: of each arm, on average, if it stops where a look excludes 0.
    """

    power: float
    seeds: float


@dataclass(frozen=True)
class Planned:
    """A plan of a confirmation.

    Attributes:
        numbers: seeds of each arm at each look; the last is the most that it may take.
        difference: that it tells from 0, in nats.
        power: the probability of that.
        inflation: factor on the pilot's standard deviations, for their being estimates.
        capped: whether more seeds are needed than are allowed; then `power` is what remains.
    """

    numbers: tuple[int, ...]
    difference: float
    power: float
    inflation: float
    capped: bool


def prospect(
    numbers: tuple[int, ...],
    difference: float,
    sd_mine: float,
    sd_theirs: float,
    *,
    paired_sd: float | None = None,
    level: float = LEVEL,
) -> Prospect:
    """Return power and mean number of seeds of a plan.

    Args:
        numbers: seeds of each arm at each look.
        difference: true difference of the means, in nats.
        sd_mine: standard deviation of one arm over seeds.
        sd_theirs: of the other.
        paired_sd: of the differences by seed, if pairs are compared; the other two then do not count.
        level: two-sided error of all looks together.
    """
    variance = sd_mine**2 + sd_theirs**2 if paired_sd is None else paired_sd**2
    effect = abs(difference) / math.sqrt(variance) if variance else math.inf
    welch = paired_sd is None and variance
    per_seed = welch_freedom((sd_mine**2, sd_theirs**2), (1, 1)) if welch else 1.0
    return _prospect(numbers, effect, per_seed, level)


@functools.cache
def _prospect(numbers: tuple[int, ...], effect: float, per_seed: float, level: float) -> Prospect:
    """The same for a difference in standard deviations; `per_seed`: degrees of freedom for each seed beyond the first."""
    if math.isinf(effect):
        return Prospect(1.0, numbers[0])
    fractions, drift = fractions_of(numbers), effect * math.sqrt(numbers[-1])
    upper, lower = list[float](), list[float]()
    for n, fraction, p in zip(numbers, fractions, levels_of(fractions, numbers[-1], level), strict=True):
        freedom, away = per_seed * (n - 1), drift * math.sqrt(fraction)
        # Kept away from 0 and 1, where nothing hangs on it.
        above = min(1 - 1e-12, max(1e-12, float(sample_size.power(away, freedom, p / 2))))
        # The normal boundary that is crossed as often as the t quantile is: so single looks are exact.
        upper.append(away - float(special.ndtri(above)))
        lower.append(-float(special.ndtri(1 - p / 2)) if p > 1e-12 else -8.0)
    found = crossed(fractions, lower, upper, drift)
    right = [above for _, above in found]
    stopped = [below + above for below, above in found]
    left = 1 - sum(stopped[:-1])
    mean = sum(n * share for n, share in zip(numbers[:-1], stopped[:-1], strict=True)) + numbers[-1] * left
    return Prospect(min(1.0, sum(right)), mean)


def seeds_needed(
    sd_mine: float,
    sd_theirs: float,
    margin: float,
    power: float = POWER,
    looks: int = LOOKS,
    level: float = LEVEL,
    paired_sd: float | None = None,
) -> int | None:
    """Return the fewest seeds of each arm that tell a difference of this size from 0 with this power; None: over 2,000.

    Args:
        sd_mine: standard deviation of one arm over seeds, in nats.
        sd_theirs: of the other.
        margin: the difference, in nats.
        power: probability of excluding 0 at some look.
        looks: at most so many, as `schedule` sets them.
        level: two-sided error of all looks together.
        paired_sd: of the differences by seed, if pairs are compared.

    Raises:
        ValueError: where the margin is not above 0.
    """
    if not margin > 0:
        raise ValueError(f"the margin must be above 0, not {margin}")

    def told(total: int) -> float:
        return prospect(schedule(total, looks), margin, sd_mine, sd_theirs, paired_sd=paired_sd, level=level).power

    return sample_size.fewest(told, power, least=FEWEST, most=MOST_SEEDS)


def seeds_to_decide(
    difference: float,
    sd_mine: float,
    sd_theirs: float,
    margin: float,
    power: float = POWER,
    looks: int = LOOKS,
) -> int | None:
    """Return how many fresh seeds of each arm would decide what stayed undecided, if all is as estimated; None: over 2,000.

    The error of the plan that ended is spent: more seeds on top of it would be a look without a level. So these are the seeds of
    a new confirmation. It decides by excluding 0 or by an interval inside the margin; that it could do both is left out, which
    makes the power up to 7 points too high with 7 seeds and 1 with 16.

    Args:
        difference: as estimated, in nats.
        sd_mine: standard deviation of one arm over seeds.
        sd_theirs: of the other.
        margin: differences up to this one do not matter.
        power: probability of deciding.
        looks: at most so many.
    """
    away = abs(difference)

    def power_of(total: int, distance: float, at: float) -> float:
        return prospect(schedule(total, looks), distance, sd_mine, sd_theirs, level=at).power

    def decides(total: int) -> float:
        excluded = power_of(total, away, LEVEL)
        if away >= margin:
            return excluded
        # Two one-sided tests, each at this level; how often one of them fails is at most the sum.
        inside = power_of(total, margin - away, 2 * LEVEL) + power_of(total, margin + away, 2 * LEVEL) - 1
        return excluded + max(0.0, inside)

    return sample_size.fewest(decides, power, least=FEWEST, most=MOST_SEEDS)


def inflation(freedom: float, power: float = POWER, level: float = LEVEL) -> float:
    """Return by what factor to raise a pilot's standard deviation, so that the power is reached on average over pilots.

    An estimate from few seeds is too low more often than not, and a plan made from it has too little power. If the number of
    seeds is proportional to the estimated variance, the mean power is a probability of a non-central t distribution; the factor
    solves for it (Julious & Owen 2006). Data of the confirmation are fresh, so that its error does not depend on the pilot.

    Args:
        freedom: degrees of freedom of the pilot.
        power: wanted on average.
        level: two-sided error.
    """
    if math.isinf(freedom):
        return 1.0
    quantile = -float(special.ndtri(level / 2))
    return float(special.nctdtrit(freedom, quantile, power)) / (quantile + float(special.ndtri(power)))


def planned(
    mine: Spread,
    theirs: Spread | None,
    difference: float,
    *,
    paired: bool = False,
    most: int | None = None,
    power: float = POWER,
    looks: int = LOOKS,
    level: float = LEVEL,
) -> Planned:
    """Plan a confirmation from the spread that a pilot saw.

    Args:
        mine: spread of one arm over seeds; of the differences by seed, if paired.
        theirs: of the other; None: the same estimate serves for both arms, such as the deviation around one joint fit.
        difference: to be told from 0, in nats.
        paired: whether pairs of seeds are compared.
        most: seeds of each arm that are affordable; None: 2,000.
        power: probability of telling it from 0, on average over pilots.
        looks: at most so many.
        level: two-sided error of all looks together.

    Raises:
        ValueError: where the difference is not above 0, or fewer than three seeds are affordable.
    """
    spreads = (mine, mine if theirs is None else theirs)
    freedom = mine.freedom
    if theirs is not None and not paired:
        freedom = welch_freedom([each.sd**2 for each in spreads], [each.freedom for each in spreads])
    factor = inflation(freedom, power, level)
    first, second = (factor * each.sd for each in spreads)
    paired_sd = first if paired else None
    total = seeds_needed(first, second, difference, power, looks, level, paired_sd)
    limit = MOST_SEEDS if most is None else most
    capped = total is None or total > limit
    numbers = schedule(limit if capped or total is None else total, looks)
    found = prospect(numbers, difference, first, second, paired_sd=paired_sd, level=level)
    return Planned(numbers, difference, found.power, factor, capped)
