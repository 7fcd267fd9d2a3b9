"""Tables in base units, cases.csv and comparisons.csv: the contract for programs; and those of the suite's own question."""

from __future__ import annotations

import pandas as pd

from modbench.reports.format import Format
from modbench.reports.panel import panels
from modbench.reports.tables.comparisons import COMPARISONS
from modbench.reports.tables.load import Loaded
from modbench.reports.writers.data import csv


def more(loaded: Loaded) -> dict[str, pd.DataFrame]:
    """Return the tables of panels that have rows."""
    made = {table.name: table.frame(loaded) for _, panel in panels() for table in panel.tables}
    return {name: table for name, table in made.items() if not table.empty}


def _files(loaded: Loaded) -> dict[str, str]:
    tables = {"cases": loaded.cases, "comparisons": loaded.pairs[COMPARISONS], **more(loaded)}
    return {f"{name}.csv": csv(table) for name, table in tables.items()}


FORMAT = Format(_files)
