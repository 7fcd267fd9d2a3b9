"""From raw samples to effects. The launch is the unit of evidence: samples of different launches are never pooled.

Protocol (docs/architecture.md): in each block, d = mean log t(arm) - mean log t(anchor); a launch's effect is the median
of its blocks' d; the result is the mean of the launch effects with a t-interval over launches. A pooled bootstrap covered
63-67 % instead of 95 % where launches differed; this covers 94.5-96 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95
MARGIN = 0.02  # differences below 2 % are of no practical interest

Columns = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Effect:
    """An estimate with its interval, on the log scale for times and on the plain scale for losses.

    Attributes:
        value: mean over launches or seeds.
        low: lower end of the 95 % interval; None where there is none.
        high: upper end.
        low90: lower end of the 90 % interval, for the equivalence test.
        high90: upper end.
        mde: smallest true effect that would be told from none with 80 % power.
        n: launches or seeds.
        reason: why there is no interval, or how far it reaches.
    """

    value: float
    low: float | None = None
    high: float | None = None
    low90: float | None = None
    high90: float | None = None
    mde: float | None = None
    n: int = 1
    reason: str | None = None


def block_differences(arm: Columns, anchor: Columns, column: str = "wall_s") -> list[float]:
    """D of every block that both arms visited: mean log of the arm's samples minus that of the anchor's."""
    arm_logs, anchor_logs = _logs_by_block(arm, column), _logs_by_block(anchor, column)
    return [arm_logs[block] - anchor_logs[block] for block in sorted(arm_logs.keys() & anchor_logs.keys())]


def _logs_by_block(samples: Columns, column: str) -> dict[float, float]:
    logs: dict[float, list[float]] = {}
    for block, seconds in zip(samples["block"], samples[column], strict=True):
        logs.setdefault(block, []).append(math.log(seconds))
    return {block: float(np.mean(values)) for block, values in logs.items()}


def over_launches(values: Sequence[float], within: Sequence[float] | None = None) -> Effect:
    """Mean and t-interval of launch effects (or of per-seed differences).

    Args:
        values: one effect per launch.
        within: with a single launch, its block effects; they give an order-statistic interval of the median that says
            nothing about other launches.
    """
    n = len(values)
    mean = float(np.mean(values))
    if n >= 3:
        s = float(np.std(values, ddof=1)) / math.sqrt(n)
        t95, t90, t80 = (float(stats.t.ppf(q, n - 1)) for q in (0.975, 0.95, 0.8))
        return Effect(mean, mean - t95 * s, mean + t95 * s, mean - t90 * s, mean + t90 * s, (t95 + t80) * s, n)
    if n == 1 and within is not None:
        interval = median_interval(within)
        if interval is None:
            return Effect(mean, n=1, reason=f"one launch of {len(within)} blocks: too few for an interval")
        return Effect(mean, *interval, n=1, reason="within-launch only: says nothing about other launches")
    return Effect(mean, n=n, reason=f"{n} is too few for an interval; three give one")


def median_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float] | None:
    """Order-statistic (binomial) interval of the median, or None if there are too few values for the level."""
    ordered = sorted(values)
    n = len(ordered)
    rank = int(stats.binom.ppf((1 - level) / 2, n, 0.5))
    if rank < 1:
        return None
    return ordered[rank - 1], ordered[n - rank]


def verdict(ratio: Effect, margin: float = MARGIN) -> str:
    """Words for a ratio on the log scale, oriented so that above 0 is better.

    `better` and `worse`: the 95 % interval lies outside the margin. `equivalent`: the 90 % interval lies inside it (two
    one-sided tests). `different`: the interval excludes no change, its size against the margin is undecided.
    """
    if ratio.low is None or ratio.high is None:
        return "inconclusive"
    edge = math.log1p(margin)
    if ratio.low > edge:
        return "better"
    if ratio.high < -edge:
        return "worse"
    if ratio.low90 is not None and ratio.high90 is not None and -edge < ratio.low90 and ratio.high90 < edge:
        return "equivalent"
    if ratio.low > 0 or ratio.high < 0:
        return "different"
    return "inconclusive"


def exact_verdict(ratio: float, margin: float = MARGIN) -> str:
    """Words for a ratio that was counted, not sampled."""
    if ratio > 1 + margin:
        return "better"
    return "worse" if ratio < 1 / (1 + margin) else "equivalent"
