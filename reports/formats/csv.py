"""Tables in base units, cases.csv and comparisons.csv: the contract for programs; and those of the suite's own question."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from modbench.reports.format import Format
from modbench.reports.questions import break_even, components, confirmation, exchange, isoflop, tasks
from modbench.reports.tables.comparisons import COMPARISONS
from modbench.reports.tables.load import Loaded
from modbench.reports.writers.csv_text import csv

# Further tables, each in a file of its own where it has a row; `report.json` holds them too.
MORE: Mapping[str, Callable[[Loaded], pd.DataFrame]] = {
    "breakeven": break_even.table,
    "exchange": exchange.table,
    "isoflop": isoflop.table,
    "confirm": confirmation.table,
    "components": components.table,
    "solved": tasks.table,
}


def more(loaded: Loaded) -> dict[str, pd.DataFrame]:
    """Return the further tables that have rows."""
    made = {name: make(loaded) for name, make in MORE.items()}
    return {name: table for name, table in made.items() if not table.empty}


def _files(loaded: Loaded) -> dict[str, str]:
    tables = {"cases": loaded.cases, "comparisons": loaded.pairs[COMPARISONS], **more(loaded)}
    return {f"{name}.csv": csv(table) for name, table in tables.items()}


FORMAT = Format(_files)
