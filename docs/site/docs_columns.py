"""The columns of a report's tables, from their declarations: a page of the reference, and a part of docs/csv-and-figures.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from docs_reference import rows
from page_tables import placed

from modbench.reports.data_table import Column
from modbench.reports.section import sections
from modbench.reports.tables.columns import PAIRS, VALUES

SCRIPT = "docs/site/reference.py"
# The page that has the columns of cases.csv and comparisons.csv.
MAIN_PAGE = Path(__file__).resolve().parents[1] / "csv-and-figures.md"
HEAD = """# Columns of the tables

`modbench report` writes these CSV files where a run has rows for them; `report.json` has the same rows. Numbers are in base units
with every digit. An empty cell was not measured, or does not apply; `reason` says why. Several labels are joined by `;`.
The columns of `cases.csv` and `comparisons.csv` are in [CSV files and figures](../csv-and-figures.md).
"""
LOW, HIGH, BASELINE = "_ci_low", "_ci_high", "baseline_"
OF_CASE = {each.name for each in VALUES}
TABLE = ("column", "type", "unit", "meaning")


def columns_page() -> str:
    """Return the page of all tables but the two that every run has."""
    found = [(table.name, table.row, [*table.columns]) for _, section in sections() for table in section.tables]
    return "\n".join([HEAD, *(line for each in found for line in _section(*each))])


def _section(name: str, row: str, columns: Sequence[Column[Any]]) -> Iterator[str]:
    yield from (f"## `{name}.csv`", "", f"A row is {row}.", "")
    yield from rows(TABLE, [_row([each.name], each) for each in columns])


def main_page() -> str:
    """Return docs/csv-and-figures.md with the columns of both tables of every run."""
    both = [each for each in VALUES if each in PAIRS]
    parts = {
        "Columns of both `cases.csv` and `comparisons.csv`:": both,
        "Columns of `cases.csv` alone:": [each for each in VALUES if each not in both],
        "Columns of `comparisons.csv` alone:": [each for each in PAIRS if each not in both],
    }
    told = [line for head, columns in parts.items() for line in (head, "", *rows(TABLE, [*_in_short(columns)]))]
    return placed(MAIN_PAGE.read_text(encoding="utf-8"), "columns", "\n".join(told), SCRIPT)


def _in_short(columns: Iterable[Column[Any]]) -> Iterator[tuple[object, ...]]:
    """A row for each column, one with the ends of its interval, and one for all that are another column's of the baseline."""
    left = {each.name: each for each in columns}
    repeated = [name for name in left if name.removeprefix(BASELINE) in OF_CASE - {name}]
    if repeated:
        yield (", ".join(f"`{each}`" for each in repeated), "as above", "as above", "the same of the baseline")
    for name, each in left.items():
        ends = [end for end in (f"{name}{LOW}", f"{name}{HIGH}") if end in left]
        if name in repeated or name.removesuffix(LOW).removesuffix(HIGH) in left.keys() - {name}:
            continue
        if name == "ci_low":
            yield _row([name, "ci_high"], each, each.meaning.replace("lower end", "ends"))
        elif name != "ci_high":
            yield _row([name, *ends], each, f"{each.meaning}; ends of its 95 % confidence interval" if ends else "")


def _row(names: Sequence[str], column: Column[Any], meaning: str = "") -> tuple[object, ...]:
    return ", ".join(f"`{name}`" for name in names), column.type, column.unit or "–", meaning or column.meaning
