"""How much runs of the same code differ in an arm's ratio to the anchor: measured from a history of runs, or stated.

Launches of one run do not show it: what an hour of its own does to an arm is alike in all of them (docs/method-gate.md). Knows
no run folder.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from modbench.harness.stats import effects
from modbench.harness.stats.effects import Effect

# Least runs from which their variation is estimated.
FEWEST_RUNS = 3
# Standard deviation between runs, as a share, where there are fewer runs and none is stated.
RUN_SD = 0.01
# Degrees of freedom of what counts as known.
KNOWN = 1e6
# Correlation of two arms' ratios to one anchor in a run, where all three vary alike.
SHARED = 0.5


@dataclass(frozen=True)
class RunSpread:
    """How much an arm's log-ratio to the anchor differs between runs of the same code.

    Attributes:
        sd: standard deviation.
        df: degrees of freedom of its square.
        of_launches: the part of its square that launches of the runs made; 0 where it was stated.
        runs: the runs it was measured from; 0 where it was stated.
    """

    sd: float = 0.0
    df: float = KNOWN
    of_launches: float = 0.0
    runs: int = 0

    @property
    def share(self) -> float:
        """The standard deviation as a share."""
        return math.expm1(self.sd)


NONE = RunSpread()


def stated(share: float) -> RunSpread:
    """Return a spread that is taken as known, from a share."""
    return RunSpread(math.log1p(share))


def measured(cases: Sequence[Sequence[Effect]]) -> RunSpread | None:
    """Pool the spread between runs over the cases of a metric, each the effects in earlier runs over their launches.

    The cases of a run share an anchor, so that they know less together than their number says: with a correlation of `SHARED`
    between cases, the pooled variance has the degrees of freedom that its own variance implies.

    Returns:
        None where no case was measured in `FEWEST_RUNS` runs.
    """
    known = [effects_R for effects_R in cases if len(effects_R) >= FEWEST_RUNS]
    if not known:
        return None
    freedom = sum(len(effects_R) - 1 for effects_R in known)
    squares = sum(float(np.var([each.value for each in effects_R])) * len(effects_R) for effects_R in known)
    of_launches = fmean((standard_error(each) or 0.0) ** 2 for effects_R in known for each in effects_R)
    df = freedom / (1 + (len(known) - 1) * SHARED**2)
    return RunSpread(math.sqrt(squares / freedom), df, of_launches, max(map(len, known)))


def standard_error(effect: Effect) -> float | None:
    """Return what the interval stands on; None for one launch or two, whose intervals say nothing about others."""
    if effect.n < 3 or effect.low90 is None or effect.high90 is None:
        return None
    return (effect.high90 - effect.low90) / 2 / effects.t_quantile(0.95, effect.n)
