"""Tables for programs: every column is declared once, by its name, type, unit and meaning, and by how a result gives it.

A question declares a `DataTable`: what a row is, its columns, and the function that finds its results in a run. The CSV file, the
rows of report.json and the docs page that explains them are all made of that declaration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import pandas as pd

from modbench.harness.domain.case import GridPoint
from modbench.reports.blocks import Interval
from modbench.reports.markup.data import value

R = TypeVar("R")
# What a column holds: a number is a float, a count a whole number; null where there is none.
Type: TypeAlias = Literal["text", "number", "count", "flag"]
# Types of columns that hold no null, and of those that do.
_DTYPES: dict[Type, tuple[str, str]] = {
    "text": ("object", "object"),  # pandas' own strings are slow to read one by one
    "number": ("float64", "float64"),
    "count": ("int64", "Int64"),
    "flag": ("bool", "object"),
}


@dataclass(frozen=True)
class Column(Generic[R]):
    """A column.

    Attributes:
        name: in the head of the CSV file, and in JSON.
        type: what it holds.
        meaning: what a reader must know, as a noun phrase.
        of: takes it from a result; None, NaN and no text: null. A sentence becomes text.
        unit: base unit of a number (`harness/core/units.py`); empty: it has none, or another column names it.
    """

    name: str
    type: Type
    meaning: str
    of: Callable[[R], object]
    unit: str = ""


# One column, or several that belong together.
Declared: TypeAlias = Column[R] | Sequence[Column[R]]


def text(name: str, meaning: str, of: Callable[[R], object]) -> Column[R]:
    """Declare a column of text."""
    return Column(name, "text", meaning, of)


def number(name: str, meaning: str, of: Callable[[R], object], unit: str = "") -> Column[R]:
    """Declare a column of numbers."""
    return Column(name, "number", meaning, of, unit)


def count(name: str, meaning: str, of: Callable[[R], object], unit: str = "") -> Column[R]:
    """Declare a column of whole numbers."""
    return Column(name, "count", meaning, of, unit)


def flag(name: str, meaning: str, of: Callable[[R], object]) -> Column[R]:
    """Declare a column of true and false."""
    return Column(name, "flag", meaning, of)


def interval(
    name: str, meaning: str, of: Callable[[R], Interval | None], before: str = "", unit: str = ""
) -> tuple[Column[R], Column[R], Column[R]]:
    """Declare a number and the ends of its 95 % confidence interval: `ratio`, `ci_low`, `ci_high`.

    Args:
        name: of the number's column.
        meaning: what the number is.
        of: takes it from a result, with its interval; None: there is none.
        before: stands before the names of the ends: `skips_` of `skips_ci_low`.
        unit: base unit of all three.
    """
    return (
        number(name, meaning, _field(of, "value"), unit),
        number(f"{before}ci_low", f"lower end of the 95 % confidence interval of {name}", _field(of, "low"), unit),
        number(f"{before}ci_high", f"upper end of the 95 % confidence interval of {name}", _field(of, "high"), unit),
    )


def _field(of: Callable[[R], object], name: str) -> Callable[[R], object]:
    """Takes a field of what is taken from a result; None where that is None."""
    return lambda row: getattr(of(row), name, None)


# The fields of a place that tables have: type, meaning, unit.
PLACE: dict[str, tuple[Type, str, str]] = {
    "seq_len": ("count", "sequence length", "tokens"),
    "batch_size": ("count", "sequences per call", ""),
    "device": ("text", "`cpu` or `cuda`", ""),
    "dtype": ("text", "number format of weights and activations", ""),
    "compile": ("flag", "whether the model was compiled", ""),
    "graph": ("flag", "whether calls were replayed from a CUDA graph", ""),
    "threads": ("count", "CPU threads of a process", ""),
}


def grid_point(of: Callable[[R], GridPoint | None], *names: str) -> tuple[Column[R], ...]:
    """Declare columns of where it was measured: these fields of a place, in this order."""
    places = ((name, *PLACE[name]) for name in names)
    return tuple(Column(name, kind, meaning, _field(of, name), unit) for name, kind, meaning, unit in places)


@dataclass(frozen=True)
class DataTable(Generic[R]):
    """A table for programs.

    Attributes:
        name: of its file, without `.csv`; its key in report.json.
        row: what a row is, as a noun phrase: `a line, by one estimand`.
        declared: its columns, in order; those that belong together may stand in one sequence.
        rows: finds its results in a run that was read; none: the table is not written.
        more: further columns that depend on the run, such as one for each metric.
    """

    name: str
    row: str
    declared: Sequence[Declared[R]]
    rows: Callable[[Any], Iterable[R]]
    more: Callable[[Any], Iterable[Column[R]]] = lambda _: ()

    @property
    def columns(self) -> Iterator[Column[R]]:
        """The columns one by one, without those that depend on the run."""
        for each in self.declared:
            yield from (each,) if isinstance(each, Column) else each

    def frame(self, loaded: Any) -> pd.DataFrame:  # noqa: ANN401  # a run that was read, of a package above
        """Return the table of a run, in base units."""
        return self.of(self.rows(loaded), self.more(loaded))

    def of(self, rows: Iterable[R], more: Iterable[Column[R]] = ()) -> pd.DataFrame:
        """Return results as a table whose columns have their types, also where there is no row."""
        return frame([*rows], [*self.columns, *more])


def frame(rows: Sequence[R], columns: Iterable[Column[R]]) -> pd.DataFrame:
    """Return rows as a table whose columns have their types, also where there is no row."""
    return pd.DataFrame({each.name: _series(each, rows) for each in columns}, index=range(len(rows)))


def _series(column: Column[R], rows: Sequence[R]) -> pd.Series:
    cells = [None if cell == "" else cell for cell in (value(column.of(row)) for row in rows)]
    return pd.Series(cells, dtype=_DTYPES[column.type][None in cells])
