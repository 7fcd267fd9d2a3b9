"""Makes `cases.csv` from records: one row per case and requested metric; a row without a value has a reason."""

from __future__ import annotations

from typing import Any

import pandas as pd

from modbench.harness.core import labels
from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.core.labels import Label
from modbench.harness.domain.case import Case
from modbench.harness.stats import effects, noise
from modbench.reports.data_table import frame
from modbench.reports.tables import claims
from modbench.reports.tables.cell import joined_reasons
from modbench.reports.tables.columns import VALUES, names
from modbench.reports.tables.values import Tables

CASES = names(VALUES)


def case_table(tables: Tables) -> pd.DataFrame:
    """Return `cases.csv`: one row per case and requested metric, then those of the A/A controls."""
    # Comparisons that share a case have one row of it.
    asked = [(case, metric) for own, metric, case in tables.asked() if tables.comparison(case, metric) is own]
    aa_controls = [(aa_control, metric) for aa_control, _, metric in tables.aa_controls()]
    return frame([_case_row(tables, *each) for each in (*asked, *aa_controls)], VALUES)


def _case_row(tables: Tables, case: Case, metric: Metric) -> dict[str, Any]:
    row = {**tables.case_columns(case, metric), "metric": metric.key, "unit": metric.unit}
    found, made_in = tables.value(case, metric), tables.made_in(metric)
    if trouble := found.trouble:
        damaged = Label.DAMAGED if trouble.kind == "damaged" else None
        return row | {"status": trouble.status, "reason": trouble.reason, "labels": damaged}
    noisy = [Label.NOISY] * (found.noisy > noise.MOST)
    effect, statistic = found.estimate, metric.statistic or made_in.statistic
    value, low, high, reason = effect.value, effect.low, effect.high, joined_reasons([effect.reason])
    if made_in.samples == "one":
        reason = no_interval(tables, case, metric)
    elif made_in.samples == "processes":
        value, low, high = effect.ratio
        statistic = "rate at the mean" if metric.source else metric.estimand
        reason = joined_reasons([effect.reason, found.cell.partly])
    return row | {
        "status": "ok",
        "labels": labels.joined([*found.labels, *claims.machine_labels(tables, case, metric), *noisy]),
        "statistic": statistic,
        "value": value,
        "ci_low": low,
        "ci_high": high,
        "ci_level": None if low is None else effects.LEVEL,
        "n": effect.n,
        "reason": reason,
    }


def no_interval(tables: Tables, case: Case, metric: Metric) -> str:
    """Return why a value has no interval, and who counted FLOPs where it was not the closed form alone."""
    reason = metric.no_interval or tables.made_in(metric).no_interval
    counted = tables.counted(case)
    # The source is named where it is not the plain closed form.
    named = metric.unit == "FLOP" and (case.is_user_model or counted.depth_ratio is not None)
    return f"{reason}; {counted.source}" if named and counted.source else reason


def looked_ahead(row: object) -> bool:
    """Whether the model of a row, or the baseline's, read later tokens when its loss was measured."""
    cells = (getattr(row, column, None) for column in ("labels", "baseline_labels"))
    return any(labels.LOOKED_AHEAD.intersection(labels.of_cell(cell)) for cell in cells)
