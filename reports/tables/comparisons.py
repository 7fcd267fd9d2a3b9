"""Makes `comparisons.csv`: one row per pair and metric. Any two arms of a comparison form a pair, through their anchor.

All pairs are compared where they are few or asked for; among many arms their number grows with the square. Otherwise each arm
is compared with the report's baseline, with the anchor, and with the dense model of equal cost that was solved for it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any, TypeAlias

import pandas as pd

from modbench.harness.core.case import Case, Comparison
from modbench.harness.planning.plan import Plan
from modbench.reports.tables import pair_verdicts
from modbench.reports.tables.cases import CASE_COLUMNS
from modbench.reports.tables.comparison_row import COLUMNS as ATTAINABLE
from modbench.reports.tables.comparison_row import pair_row
from modbench.reports.tables.outcomes import Tables
from modbench.reports.tables.pair_verdicts import judge

COMPARISONS = [
    *CASE_COLUMNS,
    *(f"baseline_{column}" for column in CASE_COLUMNS),
    *("metric", "unit", "ratio", "difference", "ci_low", "ci_high", "ci_level", "ideal", "efficiency", "realised"),
    *("verdict", "mde", "paired", "status", "reason"),
    *("mean_ratio", "mean_ci_low", "mean_ci_high", *ATTAINABLE),
    *("labels", "baseline_labels"),
]
# Rows of all pairs up to which they are made unasked.
MOST_PAIRS = 5000
# Rungs of the dense ladder with the arms that they were solved for; None: all pairs.
Targets: TypeAlias = "AbstractSet[tuple[str, str]] | None"
# More columns, which only the page shows.
MORE = (
    *("cpu_ratio", "clean_ratio", "disturbed", "p_adjusted", "primary", "twin"),
    *(
        "launch_sd",
        "launches",
        "mean_launch_sd",
        "mean_launches",
    ),  # of the effects on the log scale: reports/questions/break_even.py
)


def targets_of(plan: Plan, *, all_pairs: bool) -> Targets:
    """Return what `pairs` asks for: None where all pairs are made."""
    # A sweep over sizes compares the step times of any two of them.
    if all_pairs or plan.suite.isoflop is not None or all_rows(plan) <= MOST_PAIRS:
        return None
    return {(rung.arm, rung.target) for rung in plan.ladder}


def rows_of(tables: Tables, comparison: Comparison, targets: Targets) -> list[dict[str, Any]]:
    """Return the rows of one comparison, without verdicts."""
    return [
        of_family(
            pair_row(tables, case, baseline, tables.metrics[key]), (comparison.label, key, primary), primary=primary
        )
        for key in comparison.metrics
        for case, baseline, primary in pairs(comparison, tables.baseline_of(comparison), targets)
    ]


def comparison_table(tables: Tables, rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return `comparisons.csv` with the columns of `MORE`, from the rows of all comparisons.

    `primary` marks the rows against the report's baseline; they come first. `twin` marks those of an anchor's twin, which come
    last. `judge.py` adds the verdicts.
    """
    rows = list(rows)
    twins = [of_family(pair_row(tables, *pair), "twins", primary=False, twin=True) for pair in tables.twins()]
    judge([*rows, *twins], tables.run.plan.suite.margin, claims=tables.run.plan.suite.claims)
    pair_verdicts.suppress(tables, rows, twins)
    rows.sort(key=lambda row: not row["primary"])
    rows += twins
    frame = pd.DataFrame(rows, columns=[*COMPARISONS, *MORE])
    numbers = (
        *("ratio", "difference", "ci_low", "ci_high", "ci_level", "ideal", "efficiency", "realised", "mde"),
        *("mean_ratio", "mean_ci_low", "mean_ci_high"),
        *ATTAINABLE,
        *("cpu_ratio", "clean_ratio", "disturbed", "p_adjusted"),
        *("launch_sd", "launches", "mean_launch_sd", "mean_launches"),
        *("capacity", "baseline_capacity", "depth_ratio", "baseline_depth_ratio"),
    )
    frame = frame.astype(
        dict.fromkeys(numbers, "float64") | {"primary": "bool", "twin": "bool"}
    )  # also where there is no row
    return frame.astype({"params": "Int64", "baseline_params": "Int64"})


def settle(tables: Tables, rows: Sequence[dict[str, Any]], twins: Sequence[dict[str, Any]]) -> None:
    """Judge rows that were made outside of `comparisons.csv`, and withhold what may not be claimed.

    Args:
        tables: the run.
        rows: rows with a family (`of_family`).
        twins: pairs of an anchor and its twin, judged.
    """
    judge(rows, tables.run.plan.suite.margin, claims=tables.run.plan.suite.claims)
    pair_verdicts.suppress(tables, rows, twins)


def of_family(row: dict[str, Any], family: Hashable, *, primary: bool, twin: bool = False) -> dict[str, Any]:
    """Add to a row what it is judged with."""
    if row.get("evidence") is not None:
        row["evidence"] = replace(row["evidence"], family=family, other=not primary and not twin)
    return row | {"primary": primary, "twin": twin}


def all_rows(plan: Plan) -> int:
    """Rows that all pairs make, of arms and metrics."""
    return sum(len(each.metrics) * len(each.arms) * (len(each.arms) - 1) // 2 for each in plan.comparisons)


def pairs(comparison: Comparison, baseline: Case, targets: Targets = None) -> Iterator[tuple[Case, Case, bool]]:
    """Yield (case, baseline, whether it is the report's): every arm against that baseline, then every other pair once.

    Args:
        comparison: the arms.
        baseline: the report's.
        targets: rungs of the dense ladder with the arms that they were solved for: of the other pairs only these and those
            with the anchor; None: all.
    """
    others = [case for case in comparison.arms if case.arm != baseline.arm]
    yield from ((case, baseline, True) for case in others)
    if targets is None:
        yield from ((case, earlier, False) for i, case in enumerate(others) for earlier in others[:i])
        return
    anchor, rungs = comparison.arms[0], [case for case in others if any(case.arm == rung for rung, _ in targets)]
    for i, case in enumerate(others):
        earlier = [anchor] if i and anchor.arm != baseline.arm else []
        earlier += [rung for rung in rungs if (rung.arm, case.arm) in targets and rung is not anchor]
        yield from ((case, each, False) for each in earlier)
