"""Two cases that were not timed side by side: of another length, batch size or number format. Their launches are independent.

Each place is measured in processes of its own, so that no round holds both cases and drift does not cancel. What is compared are
the launches' own times, as two samples of unequal variance (Welch).
"""

from __future__ import annotations

import math
from statistics import median
from typing import Any

import numpy as np
from scipy import special

from modbench.harness.core.case import Case
from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.stats import contamination, effects, mean_effects
from modbench.harness.stats.effects import LEVEL, POWER, Effect
from modbench.reports.questions.gate.non_inferiority import Change, welch
from modbench.reports.tables.cell import joined_reasons
from modbench.reports.tables.outcomes import Tables
from modbench.reports.tables.pair_verdicts import Evidence
from modbench.reports.writers.number_format import percent

NOT_INTERLEAVED = "not interleaved: measured in different processes"


def result(tables: Tables, case: Case, baseline: Case, metric: Metric) -> dict[str, Any]:
    """Compare the times (or rates) of two cases: columns of `comparisons.csv` from `ratio` on, and the evidence to judge."""
    typical, mean, apart = _effects(tables, case, baseline, metric)
    values = [math.exp(tables.estimate(side, metric).value) for side in (case, baseline)]
    busy = max(tables.disturbed(side, metric) for side in (case, baseline))
    why = f"{percent(busy, 0)} of the blocks of one of the two were disturbed" if busy > contamination.MOST else None
    hardware = {
        kind for side in (case, baseline) for kind in tables.cell(side.id, tables.source(metric).key).nodes.values()
    }
    reasons = [NOT_INTERLEAVED, typical.reason]
    if len(hardware) > 1:
        reasons.append(f"the two ran on different hardware ({' and '.join(sorted(hardware))}): no verdict")
    if not tables.run.plan.suite.claims:
        reasons.append("smoke effort: no claims, so no verdict")
    means = {} if mean is None else dict(zip(("mean_ratio", "mean_ci_low", "mean_ci_high"), _ends(mean), strict=True))
    ratio, low, high = _ends(typical)
    return {
        "ratio": ratio,
        **means,
        "difference": values[0] - values[1],
        "ci_low": low,
        "ci_high": high,
        "ci_level": None if low is None else LEVEL,
        "mde": None if typical.mde is None else math.expm1(typical.mde),
        "paired": False,
        "status": "ok",
        "reason": joined_reasons(reasons),
        "disturbed": busy if tables.made_in(metric).times else None,
        "evidence": None if len(hardware) > 1 else Evidence(typical, mean if apart else None, apart, contaminated=why),
    }


def _ends(effect: Effect) -> tuple[float, float | None, float | None]:
    """Ratio and interval of an effect on the log scale."""
    low, high = (None if end is None else math.exp(end) for end in (effect.low, effect.high))
    return math.exp(effect.value), low, high


def _effects(tables: Tables, case: Case, baseline: Case, metric: Metric) -> tuple[Effect, Effect | None, Effect | None]:
    """The effect on typical calls, on mean times, and mean minus typical; above 0 the case is better.

    A rate follows from mean times and has no other; quantiles have no mean.
    """
    if metric.source:
        rate = _between(*(tables.estimate(side, metric) for side in (case, baseline)))
        return rate, rate, None
    typical = _between(*(tables.estimate(side, metric).mirrored() for side in (case, baseline)))
    if metric.quantile:
        return typical, None, None
    logs = [_launches(tables, side, metric) for side in (case, baseline)]
    mean = _between(*(effects.over_launches([each for _, each in side]).mirrored() for side in logs))
    apart = _between(*(effects.over_launches([each - own for own, each in side]).mirrored() for side in logs))
    return typical, mean, apart


def _launches(tables: Tables, case: Case, metric: Metric) -> list[tuple[float, float]]:
    """Logarithms of a case's typical and of its mean time, in each launch."""
    cell, column = tables.cell(case.id, metric.key), tables.made_in(metric).column
    return [
        (
            float(median(np.log(outcome.samples[column]).tolist())),
            mean_effects.undisturbed_log_mean(outcome.samples, column, cell.blocks.get(launch, {})),
        )
        for launch, outcome in cell.good().items()
    ]


def _between(case: Effect, baseline: Effect) -> Effect:
    """Two independent effects, the first minus the second (Welch-Satterthwaite)."""
    n = min(case.n, baseline.n)
    change = welch(case, baseline, 0.0)
    if change is None:
        reason = "an interval needs three launches of each"
        return Effect(case.value - baseline.value, n=n, reason=reason)
    half95, half90 = (_half(change, share) for share in (0.975, 0.95))
    mde = half95 + _half(change, POWER)
    ends = (change.value - half95, change.value + half95, change.value - half90, change.value + half90)
    return Effect(change.value, *ends, mde, change.spread, _p_value(change), n)


def _half(change: Change, share: float) -> float:
    return float(special.stdtrit(change.df, share)) * change.se


def _p_value(change: Change) -> float:
    """Two-sided p-value of no difference."""
    if change.se == 0:
        return float(change.value == 0)
    return float(2 * special.stdtr(change.df, -abs(change.value) / change.se))
