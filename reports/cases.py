"""Makes `cases.csv` from records: one row per case and requested metric; a row without a value has a reason."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from modbench.harness.core.case import FIT_RESOLUTION, Case
from modbench.harness.core.contracts import Metric
from modbench.harness.results.evidence import NOT_AUTOREGRESSIVE
from modbench.harness.stats import effects
from modbench.reports.tables import SAMPLED, Tables

CASE_COLUMNS = [
    *("case_id", "arm", "model", "capacity", "depth_ratio", "seq_len", "batch_size", "workload", "device", "dtype"),
    *("compile", "threads", "seed", "params", "effort", "config"),
]
CASES = [
    *CASE_COLUMNS,
    "metric",
    "unit",
    "statistic",
    "value",
    "ci_low",
    "ci_high",
    "ci_level",
    "n",
    "status",
    "reason",
]
SAW_FUTURE = "top-k routing saw future tokens when it chose"
ONE_COMPILATION = "one cold compilation each: no interval, and no verdict"
PEAKS = ("memory/peak_allocated", "memory/peak_reserved", "memory/rss_peak", "memory/activations")


def case_table(tables: Tables) -> pd.DataFrame:
    """Return `cases.csv`: one row per case and requested metric."""
    rows = [
        _case_row(tables, case, tables.metrics[key])
        for comparison in tables.run.plan.comparisons
        for key in comparison.metrics
        for case in comparison.arms
    ]
    frame = pd.DataFrame(rows, columns=CASES).astype({"params": "Int64", "n": "Int64"})
    return frame.astype(dict.fromkeys(("capacity", "depth_ratio", "value", "ci_low", "ci_high", "ci_level"), "float64"))


def _case_row(tables: Tables, case: Case, metric: Metric) -> dict[str, Any]:
    row = tables.case_columns(case, metric) | {"metric": metric.key, "unit": metric.unit}
    trouble = tables.trouble(case, metric)
    if trouble:
        return row | {"status": trouble[0], "reason": trouble[1]}
    effect = tables.estimate(case, metric)
    labels = tables.labels(case, metric)
    if metric.source or metric.made_in in SAMPLED:
        low, high = (None if end is None else math.exp(end) for end in (effect.low, effect.high))
        reason = joined([effect.reason, *labels])
        statistic = "rate at the median" if metric.source else "median"
        return row | _filled(statistic, math.exp(effect.value), low, high, effect.n, reason)
    if metric.made_in == "train":
        reason = joined([effect.reason, saw_future(tables, case, metric), *labels])
        return row | _filled("mean", effect.value, effect.low, effect.high, effect.n, reason)
    statistic = "peak" if metric.key in PEAKS else "single" if metric.made_in == "compile" else "exact"
    reason = joined([no_interval(tables, case, metric), *labels])
    return row | _filled(statistic, effect.value, None, None, 1, reason)


def joined(reasons: list[str | None]) -> str | None:
    """Join reasons into one cell, each once; None if there are none."""
    return "; ".join(dict.fromkeys(reason for reason in reasons if reason)) or None


def no_interval(tables: Tables, case: Case, metric: Metric) -> str:
    """Return why a counted value has no interval, and who counted where it was not the closed form alone."""
    if metric.key in PEAKS:
        return "the peak of one training step, not sampled: no interval"
    if metric.made_in == "compile":
        return ONE_COMPILATION
    if metric.made_in == "rates":
        return "the best of the rates that were tried: no interval"
    if metric.made_in == "fit":
        return f"found by bisection, within {FIT_RESOLUTION:.0%}: no interval"
    # The source is named where it is not the plain closed form.
    named = metric.made_in == "count" and (case.own or tables.counted(case, "depth_ratio") is not None)
    source = tables.cell(case.id, "flops/forward").note("source") if named else None
    return "; ".join(["counted, not sampled: no interval", *([str(source)] if source else [])])


def _filled(
    statistic: str, value: float, low: float | None, high: float | None, n: int, reason: str | None
) -> dict[str, Any]:
    level = effects.LEVEL if low is not None else None
    interval = {"ci_low": low, "ci_high": high, "ci_level": level}
    return {"statistic": statistic, "value": value, **interval, "n": n, "status": "ok", "reason": reason}


def looked_ahead(reason: object) -> bool:
    """Whether a row's reason says that its model, or the baseline's, read later tokens when its loss was measured."""
    return SAW_FUTURE in str(reason) or NOT_AUTOREGRESSIVE in str(reason)


def saw_future(tables: Tables, case: Case, metric: Metric) -> str | None:
    """Return the remark for a loss whose model read later tokens, or None."""
    if metric.made_in != "train" or metric.key == "loss/val_causal":
        return None
    if tables.cell(case.id, metric.key).note("sees_future") is not True:
        return None
    return NOT_AUTOREGRESSIVE if case.own else SAW_FUTURE
