"""Interim analyses: comparing several times while the evidence grows costs no more error than comparing once.

Lan & DeMets (1983) spend the error by a function of the information that is there. Their function that resembles O'Brien &
Fleming's rule is, for both sides together at level a, 4 - 4 Phi(z(1 - a/4) / sqrt(t)): hardly anything early, nearly all at the
end. Each side spends half of it, which is the function that others write for one side at level a/2. The boundary of an analysis
is the one at which exactly the share newly spent crosses there first. The density of the sum of the data on the paths that
crossed nothing yet follows from one analysis to the next by numerical integration (Armitage, McPherson & Rowe 1969).

Normal boundaries become t quantiles by their p-values (Pocock 1977; Jennison & Turnbull 2000), which alone errs a little too
often where processes are few: `Analysis.level_at` lowers the level for it. `benchmarks/sequential.py` measures the error.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import special

from modbench.harness.stats.reason import Reason

LEVEL = 0.05
# A first analysis earlier than this could not stop for any effect that somebody would look for.
LEAST_FRACTION = 0.05
# Of the quadrature: boundaries of up to ten analyses are then right to 1e-8.
NODES = 120
LARGEST_Z, FARTHEST_Z = 40.0, 9.0
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

    @property
    def reason(self) -> Reason | None:
        """What its intervals and p-values allow for; None of a single one."""
        return Reason("look", number=self.number, looks=len(self.fractions)) if self.several else None

    def level_at(self, error: float = LEVEL) -> float:
        """Return the two-sided p-value that a t-test must come below here, so that all analyses together err in so many plans.

        The t values of several analyses depend on each other less than normal ones, which the boundaries count on. In simulations
        of 200,000 plans the error of 5 % became up to 5.2 % with 20 to 32 seeds of each side, 5.4 % with 16, 5.6 % with 6, and
        6.1 % with 6 if one side spread five times as much. With the level lowered by a share of one seed in all it is 5.2 %
        there, else at most 5.1 %.

        Args:
            error: of all analyses together.
        """
        if not self.several:
            return error
        return boundaries(self.fractions[: self.number], error * (1 - 1 / self.total))[-1]

    def repeated(self, p: float) -> float:
        """Return the smallest error of all analyses together at which this one, with this two-sided p-value, calls a difference.

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
    fractions = tuple(float(each) for each in fractions)
    if not fractions or any(b <= a for a, b in zip((0.0, *fractions), fractions, strict=False)) or fractions[-1] > 1:
        raise ValueError(f"analyses must be at rising shares of at most 1, not {fractions}")
    if fractions[0] < LEAST_FRACTION:
        raise ValueError(
            f"the first analysis is at {fractions[0]:.3f} of the evidence; below {LEAST_FRACTION} it cannot stop"
        )
    if not 0 < level < 1:
        raise ValueError(f"the level must lie between 0 and 1, not at {level}")
    ends = (fractions[: number + 1] for number in range(len(fractions)))
    return tuple(float(2 * special.ndtr(-_after(each, level).critical)) for each in ends)


class _Going(NamedTuple):
    """What goes on after an analysis.

    Attributes:
        critical: its boundary, of the normal statistic.
        sums_N: sums of the data at the nodes of a quadrature; with all information the sum has variance 1.
        mass_N: how often they occur on paths that crossed no boundary yet.
    """

    critical: float
    sums_N: np.ndarray
    mass_N: np.ndarray


@functools.lru_cache(maxsize=4096)
def _after(fractions: tuple[float, ...], level: float) -> _Going:
    """Collect data up to the last of these shares of the information, and find the boundary that enough cross there."""
    from scipy import optimize  # needed for several analyses alone

    if not fractions:
        return _Going(0.0, np.zeros(1), np.ones(1))  # before any data the sum is 0
    *earlier, fraction = fractions
    _, before_M, mass_M = _after(tuple(earlier), level)
    step, share = math.sqrt(fraction), spent(fraction, level)
    if earlier:
        step, share = math.sqrt(fraction - earlier[-1]), share - spent(earlier[-1], level)

    def beyond(critical: float) -> float:
        edge = critical * math.sqrt(fraction)
        crossing_M = special.ndtr((before_M - edge) / step) + special.ndtr((-before_M - edge) / step)
        return float(mass_M @ crossing_M) - share

    critical = optimize.brentq(beyond, 0.0, LARGEST_Z, xtol=1e-12)
    # Paths that lie far out are not worth a node: a boundary may be so far out that it cannot be crossed.
    half = min(critical, FARTHEST_Z) * math.sqrt(fraction)
    nodes_N, weights_N = _nodes()
    sums_N = half * nodes_N
    density_N = np.exp(-(((sums_N[:, None] - before_M) / step) ** 2) / 2) @ mass_M / (math.sqrt(2 * math.pi) * step)
    return _Going(critical, sums_N, half * weights_N * density_N)


@functools.cache
def _nodes() -> tuple[np.ndarray, np.ndarray]:
    found: tuple[np.ndarray, np.ndarray] = np.polynomial.legendre.leggauss(NODES)
    return found
