"""The numbers behind a figure as a table: rows of `cases.csv` and `comparisons.csv`, with the columns that a reader needs."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

_CASE = ("case_id", "arm", "model", "capacity", "seq_len", "batch_size", "dtype", "device", "threads", "workload")
# Of rows of `comparisons.csv`.
RATIOS = (
    *_CASE,
    *("baseline_arm", "metric", "unit", "ratio", "ci_low", "ci_high", "ci_level"),
    *("ideal", "attainable", "verdict", "status", "reason", "labels"),
)
# Of rows of `cases.csv`.
VALUES = (*_CASE, "metric", "unit", "value", "ci_low", "ci_high", "ci_level", "n", "status", "reason", "labels")


def rows_of(rows: Iterable[pd.Series | None], columns: Iterable[str]) -> pd.DataFrame:
    """Return rows of a table as a table; rows that are None are left out."""
    wanted = list(columns)
    found = [row[wanted] for row in rows if row is not None]
    return pd.DataFrame([row.to_dict() for row in found], columns=wanted)
