"""Writes docs/tables.md, every column of every table of a report, from their declarations: python docs/site/tables.py."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from docs_reference import rows

from modbench.reports.data_table import Column
from modbench.reports.section import sections
from modbench.reports.tables.columns import PAIRS, VALUES

PAGE = Path(__file__).parents[1] / "tables.md"
HEAD = """# Columns of the tables

`modbench report` writes these CSV files where a run has rows for them; `report.json` has the same rows. Numbers are in base
units with every digit; an empty cell was not measured, or does not apply, and `reason` says why. A ratio above 1 is better.
Several labels are joined by `;`. [What else is written](formats.md). This page is made of the declarations in the code:
`python docs/site/tables.py`.
"""


def page() -> str:
    """Return the page."""
    return HEAD + "\n" + "\n".join(line for each in declared() for line in _section(*each)).rstrip() + "\n"


def declared() -> Iterator[tuple[str, str, Sequence[Column[Any]]]]:
    """Yield the tables, each with what a row is and its columns: those of every run, then the others in the order of the page."""
    yield "cases", "a metric of a case", VALUES
    yield "comparisons", "a metric of two cases of one place", PAIRS
    for _, section in sections():
        yield from ((table.name, table.row, [*table.columns]) for table in section.tables)


def _section(name: str, row: str, columns: Sequence[Column[Any]]) -> Iterator[str]:
    yield from (f"## `{name}.csv`", "", f"A row is {row}.", "")
    told: list[tuple[object, ...]] = [(f"`{each.name}`", each.type, each.unit or "–", each.meaning) for each in columns]
    yield from rows(("column", "type", "unit", "meaning"), told)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
