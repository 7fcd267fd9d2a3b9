"""The effective speed-up from one size: dense compute with the loss of an arm, where dense was trained with less compute as well.

`exchange.py` reads it off a ladder of dense models. Here the loss falls by b nats with every e-fold of compute, so that a loss
that differs by d is that of exp(-d / b) times the compute. Its logarithm is the place w where the line d + w b reaches 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from modbench.harness.stats.fieller import Line

# Beyond this many e-folds of compute no float holds the factor, and nothing that was measured tells it.
MOST_FOLDS = 700.0


@dataclass(frozen=True)
class Fall:
    """By how much the loss falls with every e-fold of compute.

    Attributes:
        value: in nats.
        margin: half the width of its 95 % interval.
    """

    value: float
    margin: float


@dataclass(frozen=True)
class EffectiveSpeedup:
    """Dense compute with the arm's loss over the arm's own: above 1 the arm saves compute.

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


def from_fall(difference: float, margin: float | None, per_fold: Fall) -> EffectiveSpeedup:
    """Return the effective speed-up of an arm that took as much compute as a dense model.

    Args:
        difference: the arm's loss minus that of the dense model, in nats per token.
        margin: half the width of its interval; None: it has none.
        per_fold: the fall of the dense model's loss, of other runs.
    """
    line = Line(difference, per_fold.value, (margin or 0.0) ** 2, 0.0, per_fold.margin**2)
    ends = line.interval(1.0)
    if ends is None or per_fold.value <= 0:
        return EffectiveSpeedup(reason="the loss does not fall with compute by more than its spread")
    folds = -difference / per_fold.value
    if abs(folds) > MOST_FOLDS:
        return EffectiveSpeedup(
            reason="the loss hardly falls with compute: no amount of it makes up for the difference"
        )
    value, (low, high) = math.exp(folds), ends
    if margin is None:
        return EffectiveSpeedup(value)
    return EffectiveSpeedup(value, math.exp(low), math.exp(high) if high <= MOST_FOLDS else None)
