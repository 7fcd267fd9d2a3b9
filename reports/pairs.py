"""From records to `comparisons.csv`: one row per pair and metric, each arm against the anchor it was interleaved with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from modbench.harness import stats
from modbench.harness.case import Case
from modbench.harness.contracts import Metric
from modbench.reports.tables import CASE_COLUMNS, SAW_FUTURE, Tables, no_interval, saw_future

COMPARISONS = [
    *CASE_COLUMNS,
    *(f"baseline_{column}" for column in CASE_COLUMNS),
    *("metric", "unit", "ratio", "difference", "ci_low", "ci_high", "ci_level", "ideal", "efficiency", "realised"),
    *("verdict", "mde", "paired", "status", "reason"),
]
# Below this distance from 1 the promise is too small to say what share of it arrived.
SMALLEST_PROMISE = 0.02


def comparison_table(tables: Tables) -> pd.DataFrame:
    """`comparisons.csv` and one column more, `cpu_ratio`: the ratio of CPU times, the witness beside wall time."""
    rows = [
        _pair_row(tables, case, comparison.arms[0], tables.metrics[key])
        for comparison in tables.run.plan.comparisons
        for key in comparison.metrics
        for case in comparison.arms[1:]
    ]
    frame = pd.DataFrame(rows, columns=[*COMPARISONS, "cpu_ratio"])
    numbers = (
        "ratio",
        "difference",
        "ci_low",
        "ci_high",
        "ci_level",
        "ideal",
        "efficiency",
        "realised",
        "mde",
        "cpu_ratio",
    )
    frame = frame.astype(
        dict.fromkeys((*numbers, "capacity", "baseline_capacity", "depth_ratio", "baseline_depth_ratio"), "float64")
    )
    return frame.astype({"params": "Int64", "baseline_params": "Int64"})


def _pair_row(tables: Tables, case: Case, baseline: Case, metric: Metric) -> dict[str, Any]:
    row = tables.case_columns(case, metric)
    row |= {f"baseline_{key}": value for key, value in tables.case_columns(baseline, metric).items()}
    row |= {"metric": metric.key, "unit": metric.unit, "paired": metric.made_in in {"time", "train"}}
    for side, who in ((case, ""), (baseline, "baseline: ")):
        trouble = tables.trouble(side, metric.key)
        if trouble:
            return row | {"status": trouble[0], "reason": who + trouble[1]}
    if metric.made_in == "inspect":
        mine, theirs = (tables.estimate(side, metric).value for side in (case, baseline))
        said = "a count has a difference and no ratio; counted, not sampled: no interval"
        return row | {"difference": mine - theirs, "status": "ok", "reason": said}
    if metric.scored_as == "difference":
        return row | _difference(tables, case, baseline, metric)
    if metric.made_in == "time":
        return row | _timed(tables, case, baseline, metric)
    return row | _exact(tables, case, baseline, metric)


def _timed(tables: Tables, case: Case, baseline: Case, metric: Metric) -> dict[str, Any]:
    """Launch by launch, the median of block log-ratios; then a t-interval over launches."""
    effect = paired_effect(tables, case, baseline, metric, "wall_s")
    cpu = paired_effect(tables, case, baseline, metric, "cpu_s")
    ratio = math.exp(effect.value)
    low, high = (None if end is None else math.exp(end) for end in (effect.low, effect.high))
    difference = math.exp(tables.estimate(case, metric).value) - math.exp(tables.estimate(baseline, metric).value)
    promise, reasons = _against_ideal(ratio, *_time_ideal(tables, case, baseline, metric))
    reasons = ([effect.reason] if effect.reason else []) + reasons
    claims = tables.run.plan.suite.claims
    if not claims:
        reasons.append("smoke effort: no claims, so no verdict")
    return {
        "ratio": ratio,
        "difference": difference,
        "ci_low": low,
        "ci_high": high,
        "ci_level": None if low is None else stats.LEVEL,
        **promise,
        "verdict": stats.verdict(effect) if claims else None,
        "mde": None if effect.mde is None else math.expm1(effect.mde),
        "status": "ok",
        "reason": "; ".join(reasons) or None,
        "cpu_ratio": math.exp(cpu.value),
    }


def paired_effect(tables: Tables, case: Case, baseline: Case, metric: Metric, column: str) -> stats.Effect:
    """Log-ratio oriented so that above 0 is better, over launches."""
    sign = -1 if metric.better == "lower" else 1
    base = {launch: outcome.samples for launch, outcome in tables.cell(baseline.id, metric.key).outcomes}
    per_launch = [
        [sign * d for d in stats.block_differences(outcome.samples, base[launch], column)]
        for launch, outcome in tables.cell(case.id, metric.key).outcomes
        if launch in base
    ]
    effects = [float(np.median(blocks)) for blocks in per_launch]
    return stats.over_launches(effects, within=per_launch[0] if len(per_launch) == 1 else None)


def _time_ideal(tables: Tables, case: Case, baseline: Case, metric: Metric) -> tuple[float | None, str]:
    """What is promised for time, and why nothing is: FLOPs, or for decode the bytes that a step must read."""
    if metric.workload == "decode":
        mine, theirs = (tables.counted(side, "decode_elements") for side in (case, baseline))
        return (theirs / mine if mine and theirs else None), "the bytes that a step of this model reads are not known"
    if metric.workload == "prefill":
        return None, "how many tokens of a prompt pass a causal router is not known beforehand"
    convention = "train_step_causal" if metric.workload == "train_step" else "forward_causal"
    return _flop_ideal(tables, case, baseline, convention), "FLOPs of both sides were not wholly counted"


def _flop_ideal(tables: Tables, case: Case, baseline: Case, convention: str) -> float | None:
    """What FLOPs promise for time: causal attention on both sides; of a step, with what only training computes.

    None where a side was not counted, or not wholly: a lower bound promises nothing.
    """
    if any(tables.counted(side, "uncounted") for side in (case, baseline)):
        return None
    mine, theirs = (tables.counted(side, convention) for side in (case, baseline))
    return float(theirs) / float(mine) if mine and theirs else None


def _exact(tables: Tables, case: Case, baseline: Case, metric: Metric) -> dict[str, Any]:
    mine, theirs = (tables.estimate(side, metric).value for side in (case, baseline))
    ratio = theirs / mine if metric.better == "lower" else mine / theirs
    reasons = [no_interval(tables, case, metric)]
    promise: dict[str, Any] = {}
    if metric.key == "memory/kv_cache":
        reasons.append("the cache's own sizes are the promise: no ideal")
    elif metric.made_in == "memory":
        forecasts = [tables.cell(side.id, metric.key).note("forecast") for side in (case, baseline)]
        ideal = forecasts[1] / forecasts[0] if all(forecasts) else None
        promise, more = _against_ideal(ratio, ideal, "a user's model has no closed form to forecast from")
        reasons += more
    else:
        reasons.append("FLOPs are the promise itself: no ideal")
    claims = tables.run.plan.suite.claims
    return {
        "ratio": ratio,
        "difference": mine - theirs,
        **promise,
        "verdict": stats.exact_verdict(ratio) if claims else None,
        "status": "ok",
        "reason": "; ".join([*reasons, *([] if claims else ["smoke effort: no claims, so no verdict"])]),
    }


def _against_ideal(ratio: float, ideal: float | None, otherwise: str) -> tuple[dict[str, Any], list[str]]:
    if ideal is None:
        return {}, [f"no ideal: {otherwise}"]
    realised = None
    reasons = []
    if abs(ideal - 1) < SMALLEST_PROMISE:
        reasons.append(f"ideal within {SMALLEST_PROMISE:.0%} of 1: no gain was promised, so no share of it is realised")
    else:
        realised = (ratio - 1) / (ideal - 1)
    return {"ideal": ideal, "efficiency": ratio / ideal, "realised": realised}, reasons


def _difference(tables: Tables, case: Case, baseline: Case, metric: Metric) -> dict[str, Any]:
    """Case minus baseline, seed by seed; loss has no ratio."""
    mine, theirs = (tables.cell(side.id, metric.key) for side in (case, baseline))
    hashes = {cell.note("corpus_sha256") for cell in (mine, theirs)}
    if len(hashes) > 1:
        return {"status": "skipped", "reason": "the two were trained on different text: their losses are not compared"}
    seeds = sorted(mine.values().keys() & theirs.values().keys())
    effect = stats.over_launches([mine.values()[seed] - theirs.values()[seed] for seed in seeds])
    reasons = ["a loss has a difference and no ratio"]
    if effect.low is None:
        reasons.append(f"{len(seeds)} seed{'s' * (len(seeds) != 1)}: illustration, no claim")
    if saw_future(tables, case, metric):
        reasons.append(SAW_FUTURE)
    return {
        "difference": effect.value,
        "ci_low": effect.low,
        "ci_high": effect.high,
        "ci_level": None if effect.low is None else stats.LEVEL,
        "verdict": _loss_verdict(effect) if tables.run.plan.suite.claims else None,
        "mde": effect.mde,
        "status": "ok",
        "reason": "; ".join(reasons),
    }


def _loss_verdict(effect: stats.Effect) -> str | None:
    if effect.low is None or effect.high is None:
        return None
    if effect.high < 0:
        return "better"
    return "worse" if effect.low > 0 else "inconclusive"
