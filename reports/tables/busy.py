"""Was the machine busy while it was timed? Which times stand for it more than for their model."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean
from typing import Any

import pandas as pd

from modbench.harness.core.case import Case
from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.core.labels import Label
from modbench.harness.core.units import counted
from modbench.harness.stats import contamination
from modbench.reports.tables.outcomes import Tables

# Causes that are named.
MOST_CAUSES = 2


def disturbed(tables: Tables, case: Case, metric: Metric) -> float:
    """Return the mean share of a case's blocks, over its launches, in which it was disturbed; 0 for what is no time."""
    cell = tables.cell(case.id, tables.source(metric).key)
    if not tables.made_in(metric).times or not cell.good():
        return 0.0
    return fmean(
        contamination.share_of_blocks(outcome.samples, cell.blocks.get(launch))
        for launch, outcome in cell.good().items()
    )


def labels(tables: Tables, case: Case, metric: Metric) -> list[Label]:
    """Return the label of a case's own time, or rate, where most of its blocks were disturbed."""
    return [Label.CONTAMINATED] * (disturbed(tables, case, metric) > contamination.MOST)


def warnings(tables: Tables, cases: pd.DataFrame) -> Iterator[str]:
    """Say how many of the times in `cases.csv` were taken on a busy machine, and what disturbed them; nothing if none was."""
    rows: list[Any] = list(cases.itertuples(index=False))
    timed = [row for row in rows if row.status == "ok" and tables.made_in(tables.metrics[row.metric]).times]
    busy = [row for row in timed if isinstance(row.labels, str) and Label.CONTAMINATED in row.labels.split(";")]
    if not busy:
        return
    cells = [tables.cell(row.case_id, tables.source(tables.metrics[row.metric]).key) for row in busy]
    causes = contamination.counted(
        mark
        for cell in cells
        for launch, outcome in cell.good().items()
        for mark in contamination.causes(outcome.samples, cell.blocks.get(launch))
    )
    yield (
        f"The machine was busy while {len(busy)} of {counted(len(timed), 'time')} were taken "
        f"({', '.join([*causes][:MOST_CAUSES])}): they are labelled {Label.CONTAMINATED}, and may be the machine's more than the "
        "models'. Close what else runs, and measure again."
    )
