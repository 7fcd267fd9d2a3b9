"""Interim analyses: comparing several times while the evidence grows costs no more error than comparing once.

Lan & DeMets (1983) spend the error by a function of the information that is there. Their function that resembles O'Brien &
Fleming's rule is, for both sides together at level a, 4 - 4 Phi(z(1 - a/4) / sqrt(t)): hardly anything early, nearly all at the
end. Each side spends half of it, which is the function that others write for one side at level a/2. The boundary of an analysis
is the one at which exactly the share newly spent crosses there first. The density of the sum of the data on the paths that
crossed nothing yet follows from one analysis to the next by numerical integration (Armitage, McPherson & Rowe 1969).

Normal boundaries become t quantiles by their p-values (Pocock 1977; Jennison & Turnbull 2000), which alone errs a little too
often where processes are few: `levels_of` lowers the level for it. `tests/bench/sequential.py` measures the error.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

LEVEL = 0.05
# A first analysis earlier than this could not stop for any effect that somebody would look for.
LEAST_FRACTION = 0.05
# Of the quadrature: boundaries of up to ten analyses are then right to 1e-8.
NODES = 120
LARGEST_Z = 40.0
# With fewer processes, blocks or seeds there is no interval.
FEWEST = 3
# The first of several analyses: with fewer its interval is so wide that it could not stop anything.
FIRST = 4
ANALYSES = 4
# Between these a repeated p-value is searched for.
SMALLEST_P, LARGEST_P = 1e-12, 0.999


@dataclass(frozen=True)
class Analysis:
    """Which analysis of a plan it is.

    Attributes:
        number: from 1.
        fractions: share of the planned evidence that is there at every analysis.
        total: processes, blocks or seeds of each side at the last one.
    """

    number: int = 1
    fractions: tuple[float, ...] = (1.0,)
    total: int = 0

    @property
    def several(self) -> bool:
        """Whether it is one of several."""
        return len(self.fractions) > 1

    def level_at(self, error: float = LEVEL) -> float:
        """The two-sided p-value to come below here, so that all analyses together err in so many plans."""
        return levels_of(self.fractions, self.total, error)[self.number - 1] if self.several else error

    def repeated(self, p: float) -> float:
        """The smallest error of all analyses together at which this one, with this two-sided p-value, calls a difference.

        That is the repeated p-value of Jennison & Turnbull (2000, chapter 9). It is at most 5 % where the repeated interval
        excludes 0, and several of them may be adjusted for their number as other p-values are.
        """
        if not self.several:
            return p
        from scipy import optimize  # needed after several analyses alone

        def beyond(exponent: float) -> float:
            return self.level_at(math.exp(exponent)) - p

        least, most = math.log(SMALLEST_P), math.log(LARGEST_P)
        if beyond(most) <= 0:
            return 1.0
        return SMALLEST_P if beyond(least) >= 0 else math.exp(optimize.brentq(beyond, least, most, xtol=1e-9))


ONE = Analysis()


def schedule(total: int, analyses: int = ANALYSES, first: int = FIRST) -> tuple[int, ...]:
    """Return how many processes, blocks or seeds there are at each analysis: at even distances, none before `first`.

    Args:
        total: at the last analysis.
        analyses: at most so many.
        first: at the first one, at least.

    Raises:
        ValueError: with fewer than three in all, or no analysis.
    """
    if total < FEWEST or analyses < 1:
        raise ValueError(f"{total} in {analyses} analyses make no plan: at least {FEWEST} in one are needed")
    even = (math.ceil(total * number / analyses) for number in range(1, analyses + 1))
    return tuple(sorted({min(total, max(first, each)) for each in even}))


def fractions_of(numbers: Sequence[int]) -> tuple[float, ...]:
    """Return the share of the last analysis' evidence that each has."""
    return tuple(each / numbers[-1] for each in numbers)


def analysis_at(number: int, numbers: Sequence[int]) -> Analysis:
    """Return an analysis, from 1, of those at so many processes, blocks or seeds."""
    return Analysis(number, fractions_of(numbers), numbers[-1])


def levels_of(fractions: Sequence[float], total: int, level: float = LEVEL) -> tuple[float, ...]:
    """Return the two-sided p-value that each analysis must come below by its t quantile, so that all together keep to a level.

    The t values of several analyses depend on each other less than normal ones, which the boundaries count on. In simulations of
    200,000 plans the error of 5 % became up to 5.2 % with 20 to 32 seeds of each side, 5.4 % with 16, 5.6 % with 6, and 6.1 %
    with 6 if one side spread five times as much. With the level lowered by a share of one seed in all it is 5.2 % there, else at
    most 5.1 %.

    Args:
        fractions: share of the planned evidence at every analysis; of a single one nothing is lowered.
        total: processes, blocks or seeds of each side at the last one.
        level: two-sided error of all analyses together.
    """
    return boundaries(fractions, level * (1 - 1 / total) if len(fractions) > 1 else level)


def spent(fraction: float, level: float = LEVEL) -> float:
    """Share of all repetitions without a difference that may have called one, by this share of the information."""
    return float(4 * special.ndtr(special.ndtri(level / 4) / math.sqrt(fraction)))


def boundaries(fractions: Sequence[float], level: float = LEVEL) -> tuple[float, ...]:
    """Return the two-sided normal p-value that an analysis must come below, for every analysis.

    Args:
        fractions: share of the information that is there at each: rising, the last at most 1.
        level: two-sided error of all together.

    Raises:
        ValueError: where the fractions do not rise, or lie outside (0.05, 1].
    """
    return _boundaries(tuple(float(each) for each in fractions), level)


@functools.cache
def _boundaries(fractions: tuple[float, ...], level: float) -> tuple[float, ...]:
    if not fractions or any(b <= a for a, b in zip((0.0, *fractions), fractions, strict=False)) or fractions[-1] > 1:
        raise ValueError(f"analyses must be at rising shares of at most 1, not {fractions}")
    if fractions[0] < LEAST_FRACTION:
        raise ValueError(
            f"the first analysis is at {fractions[0]:.3f} of the evidence; below {LEAST_FRACTION} it cannot stop"
        )
    if not 0 < level < 1:
        raise ValueError(f"the level must lie between 0 and 1, not at {level}")
    paths, before, found = Paths(), 0.0, list[float]()
    for fraction in fractions:
        paths.go_to(fraction)
        share = spent(fraction, level)
        critical = _solved(paths, share - before)
        paths.keep_inside(-critical, critical)
        before = share
        found.append(float(2 * special.ndtr(-critical)))
    return tuple(found)


def crossed(
    fractions: Sequence[float], lower: Sequence[float], upper: Sequence[float], drift: float
) -> tuple[tuple[float, float], ...]:
    """Return with what probability each analysis is the first to be below the lower, and above the upper boundary.

    Args:
        fractions: share of the information at each.
        lower: boundaries of the normal statistic.
        upper: likewise.
        drift: mean of the statistic when all information is there.
    """
    paths, found = Paths(drift), list[tuple[float, float]]()
    for fraction, low, high in zip(fractions, lower, upper, strict=True):
        paths.go_to(fraction)
        found.append((paths.below(low), paths.above(high)))
        paths.keep_inside(low, high)
    return tuple(found)


class Paths:
    """The sums of the data on those paths that crossed no boundary yet, as a density at the nodes of a quadrature.

    With all information the sum has variance 1, so that at a share t the normal statistic is the sum over sqrt(t).

    Args:
        drift: mean of the sum when all information is there.
    """

    def __init__(self, drift: float = 0.0) -> None:
        self._drift = drift
        self._fraction = 0.0
        # Before any data the sum is 0.
        self._sums_N, self._mass_N = np.zeros(1), np.ones(1)
        self._step = 0.0

    def go_to(self, fraction: float) -> None:
        """Collect data up to this share of the information."""
        self._step, self._fraction = fraction - self._fraction, fraction

    def above(self, critical: float) -> float:
        """Probability of being above this value of the normal statistic now, for the first time."""
        return self._beyond(critical, 1)

    def below(self, critical: float) -> float:
        """Probability of being below it now, for the first time."""
        return self._beyond(critical, -1)

    def _beyond(self, critical: float, sign: int) -> float:
        edge = critical * math.sqrt(self._fraction) - self._drift * self._step
        return float(self._mass_N @ special.ndtr(sign * (self._sums_N - edge) / math.sqrt(self._step)))

    def keep_inside(self, low: float, high: float) -> None:
        """Go on with the paths between two values of the normal statistic."""
        # Paths that lie far out are not worth a node: the interval may be as wide as a boundary that cannot be crossed.
        root, middle = math.sqrt(self._fraction), self._drift * self._fraction
        low, high = max(low * root, middle - 9 * root), min(high * root, middle + 9 * root)
        nodes_N, weights_N = _nodes()
        half = max(0.0, high - low) / 2
        sums_N = (low + high) / 2 + half * nodes_N
        apart_NM = (sums_N[:, None] - self._sums_N[None, :] - self._drift * self._step) / math.sqrt(self._step)
        density_N = np.exp(-(apart_NM**2) / 2) @ self._mass_N / math.sqrt(2 * math.pi * self._step)
        self._sums_N, self._mass_N = sums_N, half * weights_N * density_N


@functools.cache
def _nodes() -> tuple[np.ndarray, np.ndarray]:
    found: tuple[np.ndarray, np.ndarray] = np.polynomial.legendre.leggauss(NODES)
    return found


def _solved(paths: Paths, share: float) -> float:
    """The boundary that this share crosses, on both sides together."""
    low, high = 0.0, LARGEST_Z
    for _ in range(80):
        middle = (low + high) / 2
        if paths.above(middle) + paths.below(-middle) > share:
            low = middle
        else:
            high = middle
    return (low + high) / 2
