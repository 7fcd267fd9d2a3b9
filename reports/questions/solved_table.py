"""Makes `solved.csv`: one row per task and arm, how many of its runs solved the task, held against the baseline's."""

from __future__ import annotations

from typing import Any

import pandas as pd

from modbench.harness.core.case import Case, Comparison
from modbench.harness.stats import solved, two_counts
from modbench.harness.stats.effects import LEVEL
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.solved import Counts

COLUMNS = (
    *("task", "arm", "model", "baseline_arm", "shortcut", "solved_from", "solved", "seeds", "baseline_solved"),
    *("baseline_seeds", "difference", "ci_low", "ci_high", "ci_level", "p", "p_adjusted", "verdict", "seeds_to_decide"),
    *("status", "reason"),
)
WHOLE = ("solved", "seeds", "baseline_solved", "baseline_seeds", "seeds_to_decide")
NUMBERS = ("shortcut", "solved_from", "difference", "ci_low", "ci_high", "ci_level", "p", "p_adjusted")


def table(loaded: Loaded) -> pd.DataFrame:
    """Return `solved.csv`; empty where no task has a result."""
    rows = [row for comparison in loaded.run.plan.comparisons for row in _rows(loaded, comparison)]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return frame.astype(dict.fromkeys(WHOLE, "Int64") | dict.fromkeys(NUMBERS, "float64"))


def _rows(loaded: Loaded, comparison: Comparison) -> list[dict[str, Any]]:
    metric = loaded.tables.metrics[comparison.metrics[0]] if comparison.metrics else None
    if metric is None or not metric.task:
        return []
    found = loaded.tables.counts(comparison.arms[0], metric)
    if found is None:
        return []
    baseline = loaded.tables.baseline_of(comparison)
    rows = []
    for case in comparison.arms:
        row: dict[str, Any] = {
            "task": metric.task,
            "arm": case.arm,
            "model": case.model,
            "shortcut": found.shortcut,
            "solved_from": found.level,
        }
        trouble = loaded.tables.trouble(case, metric)
        if trouble is not None or case.id not in found.seeds:
            why = trouble or ("skipped", "no answers were recorded")
            rows.append(row | {"status": why[0], "reason": why[1]})
            continue
        mine, n = found.of(case)
        row |= {"solved": mine, "seeds": n, "status": "ok", "reason": found.why_not}
        rows.append(row if case.arm == baseline.arm else row | _against(loaded, found, case, baseline, metric.key))
    return rows


def _against(loaded: Loaded, found: Counts, case: Case, baseline: Case, key: str) -> dict[str, Any]:
    """Columns that compare an arm with the baseline; empty where runs are not compared by count."""
    row: dict[str, Any] = {"baseline_arm": baseline.arm}
    if baseline.id not in found.seeds:
        return row | {"reason": "the baseline has no value"}
    theirs, other_n = found.of(baseline)
    row |= {"baseline_solved": theirs, "baseline_seeds": other_n}
    if found.why_not:
        return row
    effect, pair = found.effect(case, baseline), loaded.pair(case.arm, key)
    verdict = None if pair is None or not isinstance(pair.verdict, str) else pair.verdict
    more = seeds_to_decide(found, case, baseline) if verdict == "inconclusive" else None
    return row | {
        "difference": effect.value,
        "ci_low": effect.low,
        "ci_high": effect.high,
        "ci_level": LEVEL,
        "p": effect.p,
        "p_adjusted": None if pair is None else pair.p_adjusted,
        "verdict": verdict,
        "seeds_to_decide": more,
        "reason": _reason(loaded, verdict, effect.value, more),
    }


def _reason(loaded: Loaded, verdict: str | None, difference: float, more: int | None) -> str | None:
    if verdict is None:
        return None if loaded.run.plan.suite.claims else "smoke effort: no claims, so no verdict"
    if verdict != "inconclusive":
        return None
    if difference == 0:
        return "as many runs of either solved it: no number of seeds follows from that"
    if more is None:
        return f"not even {two_counts.MOST_SEEDS} seeds would decide it at these rates with 80 % power"
    return f"{more} seeds would decide it at these rates with 80 % power"


def seeds_to_decide(found: Counts, case: Case, baseline: Case) -> int | None:
    """Return the seeds of each arm that tell the observed rates apart; None: more than 100, or the rates are equal."""
    (mine, n), (theirs, other_n) = found.of(case), found.of(baseline)
    needed = two_counts.seeds_needed(mine / n, theirs / other_n, solved.level_among(len(found.seeds) - 1))
    return None if needed is None else max(needed, min(n, other_n) + 1)
