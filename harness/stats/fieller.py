"""Where a line of estimates reaches 0, and with what interval (Fieller 1954).

At a place w of the line the estimate is start + w slope. The interval holds every place at which a t-test does not tell the
estimate from 0: where its square is at most that of its margin. Both are quadratic in w. At the true place the estimate varies
around 0 with the spread that the test takes, so that nothing is approximated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

_HALVINGS = 50


@dataclass(frozen=True)
class Line:
    """An estimate that is linear along a line.

    Attributes:
        start: at place 0.
        slope: its change to place 1.
        start_variance: squared standard error of the start.
        covariance: of start and slope.
        slope_variance: squared standard error of the slope.
    """

    start: float
    slope: float
    start_variance: float
    covariance: float
    slope_variance: float

    def value(self, place: float) -> float:
        """The estimate at a place."""
        return self.start + place * self.slope

    def edges(self, quantile: float) -> list[float]:
        """Return the places, none to two, at which the estimate is as large as its margin.

        Args:
            quantile: by which the standard error makes the margin.
        """
        k, u, v = quantile**2, self.start, self.slope
        uu, uv, vv = (k * each for each in (self.start_variance, self.covariance, self.slope_variance))
        a, b, c = v * v - vv, u * v - uv, u * u - uu
        # b^2 - a c, written so that nothing large cancels: it is 0 where nothing varies.
        under = u * u * vv + v * v * uu - 2 * u * v * uv - (uu * vv - uv * uv)
        if under < 0:
            return []
        q = -(b + math.copysign(math.sqrt(under), b))
        return [*([q / a] if a else []), *([c / q] if q else [])]

    def interval(self, quantile: float) -> tuple[float, float] | None:
        """Return the ends of the places that are not rejected; None, open, where the slope itself is not significant."""
        found = self.edges(quantile) if self.slope**2 > quantile**2 * self.slope_variance else []
        return (min(found), max(found)) if found else None

    def reached(self, quantile: Callable[[float], float], sign: int) -> float:
        """Return the place between 0 and 1 at which an end of the estimate's interval reaches 0, which it does not at 0.

        Args:
            quantile: of t at a place, where the degrees of freedom change along the line, so that no quadratic has the place.
            sign: 1 for the upper end, which rises to 0, -1 for the lower one, which falls to it.
        """
        before, after = 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = (before + after) / 2
            variance = self.start_variance + 2 * middle * self.covariance + middle**2 * self.slope_variance
            error = math.sqrt(max(0.0, variance))  # rounding may leave less than nothing
            if sign * self.value(middle) + quantile(middle) * error >= 0:
                after = middle
            else:
                before = middle
        return after
