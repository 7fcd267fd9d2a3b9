"""Does a user's code change the time of a model that it is no part of? The anchor beside it, against one launch without it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

from modbench.harness.stats import contamination
from modbench.harness.stats.block_effects import Columns
from modbench.harness.stats.effects import t_quantile
from modbench.harness.stats.memo import remembered

# A difference below this is of no interest, and one that launches make more often than this is none.
LEAST, ALPHA = 0.05, 0.01
# Fewest launches from which their spread is estimated.
FEWEST = 3


@dataclass(frozen=True)
class Changed:
    """The anchor takes another time where the user's code is loaded.

    Attributes:
        ratio: its time beside the user's code, over its time without it.
        low: what one more launch beside the user's code would take at least, over the same, with a probability of 99 %.
        high: at most.
        launches: launches beside the user's code.
    """

    ratio: float
    low: float
    high: float
    launches: int


@remembered
def log_median(samples: Columns, column: str) -> float:
    """Logarithm of the median time of a launch."""
    return math.log(median(samples[column]))


def column(launches: Sequence[tuple[Columns, Columns]], *, one_thread: bool) -> str | None:
    """The time by which launches are held against one another: `wall_s`, or `cpu_s`, which waiting does not touch.

    Args:
        launches: the anchor's samples, and what witnesses saw of its blocks.
        one_thread: whether one thread does all the work, so that its CPU time is comparable.

    Returns:
        None where the machine was busy in one of them and no CPU time tells.
    """
    if not any(contamination.share_of_blocks(*each) > contamination.MOST for each in launches):
        return "wall_s"
    ticked = all(all(samples.get("cpu_s", (0.0,))) for samples, _ in launches)
    return "cpu_s" if one_thread and ticked else None


def changed(beside: Sequence[float], without: float) -> Changed | None:
    """Whether a launch without the user's code differs from those beside it by more than these do from one another.

    It does where it lies outside the interval in which one more of them would lie (a prediction interval of Student's t), and by
    more than `LEAST`.

    Args:
        beside: logarithms of the anchor's time in each launch beside the user's code.
        without: the same of the launch without it.
    """
    n = len(beside)
    if n < FEWEST:
        return None
    mean = fmean(beside)
    half = t_quantile(1 - ALPHA / 2, n) * stdev(beside) * math.sqrt(1 + 1 / n)
    apart = mean - without
    if abs(apart) <= max(half, math.log1p(LEAST)):
        return None
    return Changed(math.exp(apart), math.exp(apart - half), math.exp(apart + half), n)
