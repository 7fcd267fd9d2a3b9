"""From rows of `comparisons.csv` to findings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import pandas as pd

from modbench.harness.core.group_by import grouped
from modbench.harness.core.labels import Label, of_cell
from modbench.harness.domain.case import Case
from modbench.harness.stats.verdicts import MIRRORED
from modbench.reports.blocks import Estimate, Finding, known, known_text
from modbench.reports.tables.comparisons import BY_CPU, MEAN, MEDIAN
from modbench.reports.tables.load import Loaded, Row, matched_beside, same_shape
from modbench.reports.wording import short

# Columns of `comparisons.csv` that are the data of a figure of ratios.
RATIOS = (
    *("case_id", "variant", "model", "capacity", "seq_len", "batch_size", "dtype", "device", "threads", "workload"),
    *("baseline_variant", "metric", "unit", "ratio", "ci_low", "ci_high", "ci_level"),
    *("theoretical", "predicted", "verdict", "status", "reason", "labels"),
)
# A quotient this near to a ratio is that ratio, whatever its interval.
NEAR = 0.02


def of_row(
    row: Row | Mapping[str, object],
    what: Case,
    against: Case,
    value: float | None = None,
    base: float | None = None,
) -> Finding:
    """Return what a row of `comparisons.csv` says, with the values of both variants where they are wanted."""
    get: Callable[[str], Any] = row.get if isinstance(row, Mapping) else lambda column: getattr(row, column, None)
    unit, labels, others = str(get("unit")), of_cell(get("labels")), of_cell(get("baseline_labels"))
    made = Finding(
        what,
        against,
        what.grid_point,
        str(get("metric")),
        value=None if value is None else Estimate(value, unit=unit),
        status=str(get("status")),
        reason=known_text(get("reason")),
        needed=None if (needed := known(get("seeds_needed"))) is None else int(needed),
        labels=labels,
        against_labels=others,
    )
    if made.status != "ok":
        return made
    ends = get("ci_low"), get("ci_high")
    if known(get("ratio")) is None:
        typical, other = Estimate.of(get("difference"), *ends, kind="difference", unit=unit), None
    elif Label.BY_CPU in labels:  # what the verdict is on
        typical, other = Estimate.of(*(get(column) for column in BY_CPU), kind="ratio", unit=unit), None
    else:
        typical = Estimate.of(get("ratio"), *ends, kind="ratio", unit=unit)
        columns = MEAN if known(get(MEAN[0])) is not None else MEDIAN
        other = Estimate.of(*map(get, columns), kind="ratio", unit=unit)
    other = other if other is not None and other.value is not None else None
    apart = Label.BY_CPU not in labels and _apart(typical, value, base)
    return replace(made, typical=typical, other=other, verdict=known_text(get("verdict")), apart=apart)


def of_pair(loaded: Loaded, row: Row) -> Finding:
    """Return the same of a row whose cases are those that it names."""
    cases = loaded.cases_by_id
    return of_row(row, cases[str(row.case_id)], cases[str(row.baseline_case_id)])


def labels_of(row: Row) -> tuple[str, ...]:
    """Return the labels of both sides of a row."""
    return (*of_cell(row.labels), *of_cell(row.baseline_labels))


def _apart(ratio: Estimate, value: float | None, base: float | None) -> bool:
    """Whether the quotient of two times lies outside the interval of their ratio, as where they come from other processes."""
    if ratio.kind != "ratio" or ratio.unit != "s" or ratio.value is None or value is None or base is None:
        return False
    low, high = (ratio.value if end is None else end for end in (ratio.low, ratio.high))
    return not min(low, ratio.value - NEAR) <= base / value <= max(high, ratio.value + NEAR)


def figure_rows(loaded: Loaded, found: Iterable[Finding]) -> pd.DataFrame:
    """Return what rows of `comparisons.csv` say of times, as a figure's data."""
    return pd.DataFrame([_row_of(loaded, each) for each in found], columns=list(RATIOS))


def _row_of(loaded: Loaded, found: Finding) -> dict[str, Any]:
    """Return the row that says it, turned round where the variant is the baseline of that row."""
    assert isinstance(found.against, Case)
    rows = loaded.between(found.metric, found.case.variant, found.against.variant)
    row = next(row for row in rows if found.case.id in {row.case_id, row.baseline_case_id})
    told: dict[str, Any] = row._asdict()
    if row.case_id == found.case.id:
        return told
    sides = {column: told[f"baseline_{column}"] for column in told if f"baseline_{column}" in told}
    sides |= {f"baseline_{column}": told[column] for column in sides}
    ratios = {column: 1 / told[column] for column in ("ratio", "theoretical", "predicted")}
    ends = {"ci_low": 1 / row.ci_high, "ci_high": 1 / row.ci_low, "verdict": MIRRORED.get(row.verdict, row.verdict)}
    return told | sides | ratios | ends


def between(
    loaded: Loaded, metric: str, case: Case, other: Case, lengths: Collection[int] | None = None
) -> list[Finding]:
    """Return what is found of a variant against another in one metric, at every grid point or these lengths."""
    rows = loaded.between(metric, case.variant, other.variant)
    found = (of_pair(loaded, row) for row in rows if lengths is None or row.seq_len in lengths)
    return [each if each.case.variant == case.variant else each.mirrored() for each in found]


def by_length(
    loaded: Loaded, metric: str, case: Case, other: Case, lengths: Collection[int] | None = None
) -> dict[int, Finding]:
    """Return the same by sequence length, at the batch size and in the number format that figures and tiles show."""
    found = grouped((each.grid_point.seq_len, each) for each in between(loaded, metric, case, other, lengths))
    return {length: first for length, (first, *_) in found.items()}


class Against(NamedTuple):
    """What the ratios of figures and tiles are taken to.

    Attributes:
        title: of the choice: `matched`, `same shape`, or the baseline's name.
        matched: whether each variant is compared with the dense model that was solved for it, not all with the baseline.
        pairs: variants, each with what it is compared with.
    """

    title: str
    matched: bool
    pairs: Sequence[tuple[Case, Case]]


def against(loaded: Loaded, metrics: Iterable[str]) -> list[Against]:
    """Return what can be chosen; first the matched baseline, if any was measured: a reader would take one instead."""
    base, wanted = loaded.baseline, [*metrics]
    solved = [
        (case, beside.case)
        for case in loaded.variants_shown
        if (beside := matched_beside(loaded, case)) is not None
        and any(each.typical.value is not None for key in wanted for each in between(loaded, key, case, beside.case))
    ]
    shape = "same shape" if same_shape(base) else short(base)
    every = Against(shape, matched=False, pairs=[(case, base) for case in loaded.variants_shown])
    return [Against("matched", matched=True, pairs=solved), every] if solved else [every]
