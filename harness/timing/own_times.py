"""The time of one callable by itself: a typical call, its interval, and how much calls differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from modbench.harness.stats import block_effects, contamination, effects, one_process
from modbench.harness.timing.callables import Launch


@dataclass(frozen=True)
class OwnTime:
    """Seconds of a call.

    Attributes:
        median_s: of a typical call; of several launches the geometric mean of their medians.
        low_s: lower end of the 95 % interval; None where there is none.
        high_s: upper end.
        mean_s: mean of all calls.
        spread: robust standard deviation between rounds, as a share.
        disturbed: share of the rounds in which a witness saw a disturbance.
        n: samples.
        reason: why there is no interval, or what it does not hold.
    """

    median_s: float
    low_s: float | None
    high_s: float | None
    mean_s: float
    spread: float
    disturbed: float
    n: int
    reason: str | None


def own_time(launches: Sequence[Launch], name: str) -> OwnTime:
    """The time of a callable over launches; over the rounds of a single one."""
    rounds = [list(block_effects.log_means(each.samples[name]).values()) for each in launches]
    if len(launches) == 1:
        effect = one_process.over_rounds(rounds[0])
    else:
        effect = effects.over_launches([median(each) for each in rounds])
    walls = [wall for each in launches for wall in each.samples[name]["wall_s"]]
    return OwnTime(
        math.exp(effect.value),
        None if effect.low is None else math.exp(effect.low),
        None if effect.high is None else math.exp(effect.high),
        fmean(walls),
        fmean(block_effects.spread(each) for each in rounds),
        fmean(contamination.share_of_blocks(each.samples[name], each.blocks) for each in launches),
        len(walls),
        effect.reason,
    )
