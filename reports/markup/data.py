"""CSV and JSON: what tables, findings and sentences are to programs; null, or an empty cell, where there is no value."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from modbench.harness.core.masking import masked
from modbench.harness.core.plain_text import escaped
from modbench.reports.blocks import Listed, Sentence, Value
from modbench.reports.markup.number_format import plain

# What a spreadsheet takes for the beginning of a formula.
FORMULA = ("=", "+", "-", "@")


def value(cell: object) -> object:
    """Return a cell of a table as what JSON can hold: null for NaN and for no value, text for a sentence."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, Sentence | Listed):
        return plain(cell)
    if cell is None or cell is pd.NA or (isinstance(cell, float) and not math.isfinite(cell)):
        return None
    return cell.item() if isinstance(cell, np.generic) else cell


def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table."""
    found = frame.astype(object).to_dict(orient="records")
    return [{str(key): value(cell) for key, cell in row.items()} for row in found]


def sentences(said: Iterable[Value]) -> tuple[str, ...]:
    """Return sentences as text."""
    return tuple(map(plain, said))


def csv(frame: pd.DataFrame) -> str:
    """Return CSV in base units with full precision; null is an empty cell. No text in it is a formula or a control."""
    texts = {str(name): _cells(frame[name]) for name in frame if frame[name].dtype.kind not in "biufc"}
    return masked(str(frame.assign(**texts).to_csv(index=False, lineterminator="\n")))


def _cells(column: pd.Series) -> pd.Series:
    """The cells of a column with text; most texts stand in many rows."""
    texts = {each: text_cell(each) for each in {*column} if isinstance(each, str)}
    return pd.Series([texts[each] if isinstance(each, str) else each for each in column], dtype="object")


def text_cell(text: str) -> str:
    """A text as a cell of a CSV file: on one line, with an apostrophe before what a spreadsheet would compute."""
    line = escaped(text, lines=False)
    return f"'{line}" if line.startswith(FORMULA) and not _is_number(line) else line


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
