"""Tables in base units, cases.csv and comparisons.csv: the contract for programs; and those of the suite's own question."""

from __future__ import annotations

from modbench.reports.markup.data import csv
from modbench.reports.output_format import Format
from modbench.reports.section import more_tables
from modbench.reports.tables.comparisons import COMPARISONS
from modbench.reports.tables.load import Loaded


def _files(loaded: Loaded) -> dict[str, str]:
    tables = {"cases": loaded.cases, "comparisons": loaded.pairs[COMPARISONS], **more_tables(loaded)}
    return {f"{name}.csv": csv(table) for name, table in tables.items()}


FORMAT = Format(_files)
