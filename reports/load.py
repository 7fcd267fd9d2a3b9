"""A run folder, read and tabulated: what every panel is a function of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from modbench.harness import store
from modbench.harness.case import Case
from modbench.reports.pairs import comparison_table
from modbench.reports.tables import Tables, case_table


@dataclass(frozen=True)
class Loaded:
    """A run ready to be shown.

    Attributes:
        run: plan, environment and records.
        tables: outcomes by case and metric.
        cases: `cases.csv`.
        comparisons: `comparisons.csv`, and `cpu_ratio`.
    """

    run: store.StoredRun
    tables: Tables
    cases: pd.DataFrame
    comparisons: pd.DataFrame

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.run.path

    @property
    def failed(self) -> pd.DataFrame:
        """Rows of `cases` that failed."""
        return self.cases[self.cases.status == "failed"]

    @property
    def arms(self) -> list[Case]:
        """One case of every arm: the anchor, the dense ladder, MoD by capacity, then the rest in the suite's order."""
        first: dict[str, Case] = {}
        for comparison in self.run.plan.comparisons:
            for case in comparison.arms:
                first.setdefault(case.arm, case)
        anchors = {comparison.arms[0].arm for comparison in self.run.plan.comparisons}
        order = {"mod": 2}

        def rank(case: Case) -> tuple[int, float]:
            if case.arm in anchors:
                return (0, 0.0)
            if case.rung:
                return (1, 0.0)
            return (order.get(case.model, 3), case.config.capacity or 0.0 if case.model == "mod" else 0.0)

        return sorted(first.values(), key=rank)

    @property
    def lengths(self) -> list[int]:
        """Sequence lengths of the grid, ascending."""
        return sorted(self.comparisons[self.comparisons.workload != "train"].seq_len.unique().tolist())

    def pair(self, arm: str, metric: str, seq_len: int | None = None) -> pd.Series | None:
        """The comparison row of an arm, metric and length (of the first batch size and number format), or None."""
        return _first(self.comparisons, arm, metric, seq_len)

    def value(self, arm: str, metric: str, seq_len: int | None = None) -> float | None:
        """The measured value of an arm, or None."""
        row = _first(self.cases, arm, metric, seq_len)
        return None if row is None or row.status != "ok" else float(row.value)


def _first(frame: pd.DataFrame, arm: str, metric: str, seq_len: int | None) -> pd.Series | None:
    rows = frame[(frame.arm == arm) & (frame.metric == metric)]
    if seq_len is not None:
        rows = rows[rows.seq_len == seq_len]
    return None if rows.empty else rows.iloc[0]


def load(folder: str | Path) -> Loaded:
    """Read a run folder.

    Raises:
        UsageError: if it is none, or is damaged.
    """
    run = store.read(str(folder))
    tables = Tables(run)
    return Loaded(run, tables, case_table(tables), comparison_table(tables))
