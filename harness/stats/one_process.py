"""Effects from one process alone: its rounds are the units of evidence, for want of others.

Rounds of one process share its memory layout, its hash seed and its caches, by which processes of the same code differ. The
interval says how exactly this process was measured, not where another would land; whoever shows it must say so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from modbench.harness.stats import contamination, effects, paired
from modbench.harness.stats.effects import Effect
from modbench.harness.stats.paired import Choose, LaunchSamples, Paired

FEWEST_ROUNDS = 6
# Of identical code in one long process, CPU time differed by up to 1.4 % in 3 of 7 comparisons: alone it decides beyond this.
CPU_MARGIN = 0.05
REASON = "one process: the interval does not hold what differs between processes"


def over_rounds(values: Sequence[float]) -> Effect:
    """Median of the effects of rounds, with order-statistic intervals and a sign test: no shape of noise is assumed.

    Args:
        values: one log-effect per round, at least one.
    """
    wide, narrow = effects.median_interval(values), effects.median_interval(values, 0.9)
    if wide is None or narrow is None:
        few = f"{len(values)} rounds are too few for an interval; {FEWEST_ROUNDS} give one"
        return Effect(median(values), n=1, reason=few)
    return Effect(median(values), *wide, *narrow, p=_sign_test(values), n=1, reason=REASON)


def of_pair(launch: LaunchSamples, pair: Paired) -> Paired:
    """The pair of a single launch, with its rounds as the units of evidence."""

    def again(effect: Effect | None, column: str, choose: Choose) -> Effect | None:
        found = None if effect is None else paired.in_launch(launch, column, choose)
        return effect if found is None else over_rounds([-value for value in found.within])

    typical = again(pair.effect, "wall_s", paired.every)
    assert typical is not None, "an arm and its anchor share every round"
    cpu, clean = again(pair.cpu, "cpu_s", paired.ticked), again(pair.clean, "wall_s", contamination.clean)
    return replace(pair, effect=typical, cpu=cpu, clean=clean)


def _sign_test(values: Sequence[float]) -> float:
    """Two-sided p-value of a median of 0."""
    above, below = (sum(value * sign > 0 for value in values) for sign in (1, -1))
    orders: int = 2 ** (above + below)
    tail = sum(math.comb(above + below, k) for k in range(min(above, below) + 1)) / orders
    return min(1.0, 2 * tail)
