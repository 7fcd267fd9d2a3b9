"""Block effects: the log-ratio of two variants' times inside each block that both visited, and their spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

# Samples of a variant, or what witnesses saw of blocks, by column.
Columns = Mapping[str, Sequence[float]]

# Standard deviations of a normal distribution per median absolute deviation, and of its median per that of its mean.
SIGMA_PER_MAD = 1.4826
MEDIAN_PENALTY = 1.2533


def spread(values: Sequence[float]) -> float:
    """Robust standard deviation, 1.4826 times the median absolute deviation."""
    middle = median(values)
    return SIGMA_PER_MAD * median(abs(value - middle) for value in values)
