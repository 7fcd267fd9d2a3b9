"""What a difference of losses is worth in compute: where the loss falls by so much with every e-fold of it.

A difference d below 0 is worth exp(-d / b) times the compute, b being the fall of the loss in nats per e-fold. The interval of
the ratio d / b follows from those of d and b (Donner & Zou 2012, MOVER-R).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

# Beyond this many e-folds of compute no float holds the factor, and nothing that was measured tells it.
MOST_FOLDS = 700.0


@dataclass(frozen=True)
class Fall:
    """By how much the loss falls with every e-fold of compute.

    Attributes:
        value: in nats.
        low: lower end of its 95 % interval.
        high: upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ComputeEquivalent:
    """Compute that has the same worth: above 1 the arm saves compute.

    Attributes:
        value: the factor; None where there is none.
        low: lower end of its 95 % interval.
        high: upper end; None with a lower end: open.
        reason: why there is none.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


def worth(difference: float, low: float | None, high: float | None, per_fold: Fall) -> ComputeEquivalent:
    """Return what a difference of losses is worth.

    Args:
        difference: the arm's loss minus that of the other, in nats per token.
        low: lower end of its interval; None: it has none.
        high: upper end.
        per_fold: the fall of the other's loss.
    """
    if per_fold.low <= 0:
        return ComputeEquivalent(reason="the loss does not fall with compute by more than its spread")
    folds = -difference / per_fold.value
    if abs(folds) > MOST_FOLDS:
        return ComputeEquivalent(reason="the loss hardly falls with compute: no amount of it is worth the difference")
    value = math.exp(folds)
    if low is None or high is None:
        return ComputeEquivalent(value)
    below = _end(difference, low, per_fold.value, per_fold.high, -1)
    above = _end(difference, high, per_fold.value, per_fold.low, 1)
    return ComputeEquivalent(value, math.exp(-above), math.exp(-below) if -below <= MOST_FOLDS else None)


def _end(top: float, top_end: float, bottom: float, bottom_end: float, sign: int) -> float:
    """An end of the ratio top / bottom, from an end of each: of the bottom the one that makes the ratio's margin larger."""
    under = (top * bottom) ** 2 - top_end * (2 * top - top_end) * bottom_end * (2 * bottom - bottom_end)
    return (top * bottom + sign * math.sqrt(max(0.0, under))) / (bottom_end * (2 * bottom - bottom_end))
