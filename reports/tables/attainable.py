"""What stands between the ideal and the measured ratio: what this machine can attain, and how much of a promise came true."""

from __future__ import annotations

from typing import Any

from modbench.harness.core.case import Case
from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.reports.tables.outcomes import Tables
from modbench.reports.writers.number_format import percent

# Columns of `comparisons.csv`, before the labels.
COLUMNS = ("attainable", "realised_ci_low", "realised_ci_high")
# An ideal closer to 1 than this is too small a gain to say what share of it was realised.
SMALLEST_PROMISE = 0.10
# Whole calls whose operators the counting pass records, and the field of its notes that holds them.
RECORDED = {"latency/forward": "forward_operators", "latency/train_step": "train_operators"}


def attainable(tables: Tables, case: Case, baseline: Case, metric: Metric) -> tuple[float | None, str | None]:
    """Return the time ratio that the peaks of this machine allow, or None and the reason; neither if no time is compared.

    Both sides' operators are added up at the peaks by shape that this run measured (`harness/roofline/table.py`).
    """
    source = tables.source(metric)
    if metric.no_ideal or not source.ideal:
        return None, None
    field = RECORDED.get(source.key)
    if field is None:
        return None, "attainable is not known: only whole forward passes and training steps are taken apart"
    for who, side in (("", case), ("baseline: ", baseline)):
        if getattr(tables.counted(side), field) is None:
            why = tables.counted(side).operators_reason or "its operators were not recorded"
            return None, f"attainable is not known: {who}{why}"
    table = tables.rooflines.get(case.place.dtype)
    mine, theirs = (getattr(tables.counted(side), field) for side in (case, baseline))
    lacks = f"no peaks by shape were measured for {case.place.dtype}" if table is None else table.lacks(mine, theirs)
    if table is None or lacks is not None:
        return None, f"attainable is not known: {lacks}"
    return table.seconds(theirs) / table.seconds(mine), None


def against_ideal(
    ratio: float, ideal: float | None, otherwise: str, low: float | None = None, high: float | None = None
) -> tuple[dict[str, Any], list[str | None]]:
    """Return the columns that hold a ratio, with its interval, against its ideal, and reasons for those that are null.

    Args:
        ratio: measured.
        ideal: promised; None: nothing was.
        otherwise: why nothing was promised.
        low: lower end of the ratio's interval.
        high: upper end.
    """
    if ideal is None:
        return {}, [f"no ideal: {otherwise}"]
    found: dict[str, Any] = {"ideal": ideal, "efficiency": ratio / ideal}
    if abs(ideal - 1) < SMALLEST_PROMISE:
        reason = f"ideal within {percent(SMALLEST_PROMISE, 0)} of 1: too little was promised to say what share of it is realised"
        return found, [reason]
    found["realised"] = realised(ratio, ideal)
    if low is not None and high is not None:
        # A promised loss turns the interval around.
        ends = sorted((realised(low, ideal), realised(high, ideal)))
        found |= {"realised_ci_low": ends[0], "realised_ci_high": ends[1]}
    return found, []


def realised(ratio: float, ideal: float) -> float:
    """Return the share of a promised change that was measured."""
    return (ratio - 1) / (ideal - 1)
