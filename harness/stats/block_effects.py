"""Block effects: the log-ratio of two arms' times inside each block that both visited. Plain arithmetic, no numpy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median

from modbench.harness.stats.memo import remembered

Columns = Mapping[str, Sequence[float]]

# Standard deviations of a normal distribution per median absolute deviation, and of its median per that of its mean.
SIGMA_PER_MAD = 1.4826
MEDIAN_PENALTY = 1.2533


@remembered
def log_means(samples: Columns, column: str = "wall_s") -> dict[float, float]:
    """Mean log of an arm's samples, by block."""
    logs: dict[float, list[float]] = {}
    for block, value in zip(samples["block"], samples[column], strict=True):
        logs.setdefault(block, []).append(math.log(value))
    # The mean of two, which most blocks have, is the same to the bit.
    return {block: (values[0] + values[1]) / 2 if len(values) == 2 else fmean(values) for block, values in logs.items()}


@remembered
def differences(arm: Columns, anchor: Columns, column: str = "wall_s") -> dict[float, float]:
    """Mean log of the arm's samples minus that of the anchor's, by block, in every block that both visited."""
    mine, theirs = log_means(arm, column), log_means(anchor, column)
    return {block: mine[block] - theirs[block] for block in sorted(mine.keys() & theirs.keys())}


def by_round(samples: Columns, effects: Mapping[float, float]) -> dict[float, float]:
    """Block effects of an arm by round: every arm but the anchor has one block in each round."""
    rounds = dict(zip(samples["block"], samples["round"], strict=True))
    return {rounds[block]: effect for block, effect in effects.items()}


def spread(values: Sequence[float]) -> float:
    """Robust standard deviation, 1.4826 times the median absolute deviation."""
    middle = median(values)
    return SIGMA_PER_MAD * median(abs(value - middle) for value in values)
