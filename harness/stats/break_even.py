"""Break-even: from which length (or batch size) on a variant is faster than another, with a band.

The effect of a variant rises along the axis: it is taken as piecewise linear in the logarithm of the axis between the measured
points, and as never falling. The estimate is the root of the isotonic fit. The band is a test turned round: it holds every point
of the axis whose own 95 % interval, of the effect interpolated there, includes no effect, and what lies between such points.
Points of the axis are measured in processes of their own, so that they are independent.

A percentile bootstrap of three to ten processes holds the truth in 0.74 to 0.90 of simulations; `benchmarks/break_even.py`
prints the share for this band.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from scipy import special

from modbench.harness.stats.effects import LEVEL, t_quantile
from modbench.harness.stats.fieller import Line
from modbench.harness.stats.reason import Reason

Outcome: TypeAlias = Literal["from", "always", "never", "inconclusive", "not monotone"]
FEWEST_PROCESSES = 3
# Standard deviation of an effect, far below what a clock resolves: where processes agree to the bit, weights stay finite.
_LEAST_SD = 1e-9
# A line between lengths further apart than half an octave, as grids such as 32, 48, 64, 96 have it, may hide a bend.
NEAR = 1.5


@dataclass(frozen=True)
class Point:
    """What was measured at one point of the axis.

    Attributes:
        at: length or batch size.
        value: mean of the processes' effects, on the log scale; above 0 the variant is faster.
        sd: standard deviation of the processes' effects; None from fewer than two.
        n: processes.
    """

    at: float
    value: float
    sd: float | None
    n: int

    @property
    def variance(self) -> float:
        """Squared standard error of the mean."""
        return max(self.sd or 0.0, _LEAST_SD) ** 2 / self.n


@dataclass(frozen=True)
class Found:
    """From where on a variant is faster.

    Attributes:
        outcome: `from`: shown to pay at the last point, and not at the first; `always`: at every point; `never`: at none;
            `inconclusive`: not shown to pay at the last point, nor not to; `not monotone`: the effect falls somewhere, so that no
            point divides the axis; None where no interval exists.
        at: the estimate, on the axis; None where the fit does not cross inside the range.
        low: lower end of the band; None: the line may lie at or before the first point.
        high: upper end, of `from`; None: the line may lie beyond the last point.
        reason: why there is no line; None where there is one.
        measure_next: the point of the axis to measure next, where the estimate may be off since the effect may bend between the
            points beside it; None where it is as good as these points, or no whole number lies between them.
    """

    outcome: Outcome | None
    at: float | None = None
    low: float | None = None
    high: float | None = None
    reason: Reason | None = None
    measure_next: int | None = None


def break_even(points: Sequence[Point]) -> Found:
    """Find the line of one variant against another.

    Args:
        points: at least one, at different places of the axis, in any order.
    """
    points = sorted(points, key=lambda point: point.at)
    few = min(point.n for point in points)
    if few < FEWEST_PROCESSES:
        return Found(None, reason=Reason("few_processes", n=few))
    lows, highs = ([_end(point, sign) for point in points] for sign in (-1, 1))
    # Each point by itself, whatever the shape.
    if min(lows) > 0 or max(highs) < 0:
        return Found("always" if min(lows) > 0 else "never")
    fall = _fall(points)
    if fall is not None:
        first, last = fall
        here, there = math.exp(first.value), math.exp(last.value)
        return Found("not monotone", reason=Reason("falls", first=here, first_at=first.at, last=there, last_at=last.at))
    if lows[0] > 0 or highs[-1] < 0:
        return Found("always" if lows[0] > 0 else "never")
    found = _crossing(points, lows, highs)
    return found if found.at is None else replace(found, measure_next=_measure_next(points, found.at))


def _crossing(points: Sequence[Point], lows: Sequence[float], highs: Sequence[float]) -> Found:
    """Find the line among points whose first may not pay, and whose last may."""
    # Up to the first point from the left that may pay; from the first from the right that may not.
    low, high = _first(points, highs, 1), _first(points[::-1], lows[::-1], -1)
    at = _root(points)
    # Where the fit pools points it may differ from each of them, and leave the band.
    if at is not None:
        low, high = (None if low is None else min(low, at)), (None if high is None else max(high, at))
    return Found("inconclusive" if high is None else "from", at, low, high)


def _end(point: Point, sign: int) -> float:
    """Lower (-1) or upper (1) end of the interval of a measured point."""
    return point.value + sign * t_quantile((1 + LEVEL) / 2, point.n) * math.sqrt(point.variance)


def _first(points: Sequence[Point], ends: Sequence[float], sign: int) -> float | None:
    """First place along the points at which the end of the interval reaches 0; None if it does at the first point."""
    reached = next((i for i, end in enumerate(ends) if sign * end >= 0), len(points))
    if reached in {0, len(points)}:
        return None
    here, there = points[reached - 1], points[reached]

    def quantile(share: float) -> float:
        freedom = _freedom((1 - share) ** 2 * here.variance, here.n, share**2 * there.variance, there.n)
        return float(special.stdtrit(freedom, (1 + LEVEL) / 2))

    slope, slope_variance = there.value - here.value, here.variance + there.variance
    line = Line(here.value, slope, here.variance, -here.variance, slope_variance)
    return _between(here, there, line.reached(quantile, sign))


def _freedom(mine: float, n: int, theirs: float, m: int) -> float:
    """Degrees of freedom of the sum of two squared standard errors, from n and m processes (Satterthwaite)."""
    return (mine + theirs) ** 2 / (mine**2 / (n - 1) + theirs**2 / (m - 1))


def _between(here: Point, there: Point, share: float) -> float:
    """The place that lies at a share of the way, on the log scale."""
    return math.exp((1 - share) * math.log(here.at) + share * math.log(there.at))


def _fall(points: Sequence[Point]) -> tuple[Point, Point] | None:
    """The two points between which the effect falls significantly; None if it falls nowhere.

    Every point is compared with every later one (Welch). Holm's first step decides whether there is any: the smallest p-value
    times the number of pairs.
    """
    pairs = len(points) * (len(points) - 1) // 2
    if not pairs:
        return None
    least = (1 - LEVEL) / pairs
    values, variances = (np.array([getattr(point, name) for point in points]) for name in ("value", "variance"))
    enough = -float(special.ndtri(least))  # Student's t has heavier tails than the normal: less never suffices
    found, smallest = None, least
    for i, first in enumerate(points[:-1]):
        falls, errors = first.value - values[i + 1 :], np.sqrt(first.variance + variances[i + 1 :])
        for j in np.flatnonzero(falls >= enough * errors):
            last = points[i + 1 + int(j)]
            freedom = _freedom(first.variance, first.n, last.variance, last.n)
            p = float(special.stdtr(freedom, -falls[j] / errors[j]))
            if p <= smallest:
                found, smallest = (first, last), p
    return found


def _root(points: Sequence[Point]) -> float | None:
    """Where the isotonic fit, interpolated on the log scale, first reaches 0; None if that is not inside the range."""
    from scipy import optimize  # a fifth of a second, which a line alone needs

    weights = [1 / point.variance for point in points]
    fit = optimize.isotonic_regression([point.value for point in points], weights=weights).x.tolist()
    if fit[0] >= 0 or fit[-1] < 0:
        return None
    for (before, after), (here, there) in zip(itertools.pairwise(fit), itertools.pairwise(points), strict=True):
        if after >= 0:
            return _between(here, there, before / (before - after))
    raise AssertionError("it ends at or above 0")


def _measure_next(points: Sequence[Point], at: float) -> int | None:
    """The middle, on the log scale, of the two points beside an estimate, where they are far apart or the effect bends there."""
    after = min(max(bisect.bisect_left([point.at for point in points], at), 1), len(points) - 1)
    here, there = points[after - 1 : after + 1]
    middle = round(_between(here, there, 0.5))
    if not here.at < middle < there.at:
        return None
    outside = [points[i] for i in (after - 2, after + 1) if 0 <= i < len(points)]
    third = min(outside, key=lambda point: abs(math.log(point.at / at)), default=None)
    bent = third is not None and bends(sorted((here, there, third), key=lambda point: point.at))
    return middle if bent or there.at > NEAR * here.at else None


def bends(points: Sequence[Point]) -> bool:
    """Whether the effect of three points, ascending, has a significant second difference over the logarithm of the axis.

    That is a t-test at 5 % of the difference of the two slopes, with Welch's degrees of freedom.
    """
    near, far = (math.log(there.at / here.at) for here, there in itertools.pairwise(points))
    weights = (1 / near, -1 / near - 1 / far, 1 / far)
    bend = sum(weight * point.value for weight, point in zip(weights, points, strict=True))
    parts = [weight**2 * point.variance for weight, point in zip(weights, points, strict=True)]
    whole = sum(parts)
    freedom = whole**2 / sum(part**2 / (point.n - 1) for part, point in zip(parts, points, strict=True))
    return abs(bend) > float(special.stdtrit(freedom, (1 + LEVEL) / 2)) * math.sqrt(whole)
