"""From rows of `comparisons.csv` to findings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from modbench.harness.core.labels import Label
from modbench.harness.domain.case import Case
from modbench.reports.model import Estimate, Finding, known
from modbench.reports.tables.comparisons import BY_CPU
from modbench.reports.tables.load import Loaded, Row

# Ratios this near to 1 point nowhere, whatever their interval.
NEAR = 0.02


def of_row(
    row: Row | Mapping[str, object] | pd.Series,
    what: Case,
    against: Case,
    value: float | None = None,
    base: float | None = None,
) -> Finding:
    """Return what a row of `comparisons.csv` says.

    Args:
        row: the row.
        what: the arm that it is about.
        against: what that is compared with.
        value: the arm's own value in the metric's unit, if it is wanted beside the comparison.
        base: the other's.
    """
    get: Callable[[str], Any] = (
        row.get if isinstance(row, Mapping | pd.Series) else lambda column: getattr(row, column, None)
    )
    unit, labels, others = str(get("unit")), _labels(get("labels")), _labels(get("baseline_labels"))
    made = Finding(
        what,
        against,
        what.place,
        str(get("metric")),
        value=None if value is None else Estimate(value, unit=unit),
        status=str(get("status")),
        reason=get("reason") if isinstance(get("reason"), str) else None,
        labels=labels,
        against_labels=others,
    )
    if made.status != "ok":
        return made
    verdict = get("verdict") if isinstance(get("verdict"), str) else None
    ends = get("ci_low"), get("ci_high")
    if known(get("ratio")) is None:
        typical, mean = Estimate.of(get("difference"), *ends, kind="difference", unit=unit), None
    elif Label.BY_CPU in labels:  # what the verdict is on
        typical, mean = Estimate.of(*(get(column) for column in BY_CPU), kind="ratio", unit=unit), None
    else:
        typical = Estimate.of(get("ratio"), *ends, kind="ratio", unit=unit)
        ends = get("mean_ci_low"), get("mean_ci_high")
        mean = Estimate.of(get("mean_ratio"), *ends, kind="ratio", unit=unit)
    mean = None if mean is None or mean.value is None else mean
    opposed = Label.BY_CPU not in labels and _opposed(typical, value, base)
    return replace(made, typical=typical, mean=mean, verdict=verdict, opposed=opposed)


def of_pair(loaded: Loaded, row: Row) -> Finding:
    """Return the same of a row whose cases are those that it names."""
    cases = loaded.cases_by_id
    return of_row(row, cases[str(row.case_id)], cases[str(row.baseline_case_id)])


def _labels(cell: object) -> tuple[str, ...]:
    return tuple(cell.split(";")) if isinstance(cell, str) else ()


def labels_of(row: Row) -> tuple[str, ...]:
    """Return the labels of both sides of a row."""
    return (*_labels(row.labels), *_labels(row.baseline_labels))


def _opposed(ratio: Estimate, value: float | None, base: float | None) -> bool:
    """Whether a ratio of times lies above 1 and the quotient of the two times below, or the other way round."""
    if ratio.kind != "ratio" or ratio.unit != "s" or ratio.value is None or value is None or base is None:
        return False
    low, high = (ratio.value if end is None else end for end in (ratio.low, ratio.high))
    above, below = min(low, ratio.value - NEAR) > 1, max(high, ratio.value + NEAR) < 1
    return (above and base < value) or (below and base > value)


def between(loaded: Loaded, metric: str, case: Case, other: Case) -> list[Finding]:
    """Return what is found of an arm against another in one metric, at every place; stored either way round."""
    found = list[Finding]()
    for row in loaded.between(metric, case.arm, other.arm):
        made = of_pair(loaded, row)
        found.append(made if row.arm == case.arm else made.mirrored())
    return found
