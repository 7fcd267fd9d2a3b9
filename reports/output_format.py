"""The format type: one way to write what the HTML report says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from modbench.harness.core.errors import UsageError, unknown
from modbench.harness.registry import catalogue

if TYPE_CHECKING:
    from modbench.reports.blocks import Table, Value
    from modbench.reports.tables.load import Loaded

# The page's file.
PAGE = "report.html"
# What every run is written as.
DEFAULT = ("csv", "html")
# Of tables, the command that made them, and warnings.
Fragment: TypeAlias = "Callable[[Sequence[Table], str, Sequence[Value]], str]"


@dataclass(frozen=True)
class Format:
    """A format; its file's first docstring line says what it is.

    Attributes:
        files: pure function from a loaded run to the files' contents by name. Without dates: equal runs make equal bytes.
        fragment: tables alone as a text, below the command that made them and what must be known; None: it writes none.
    """

    files: Callable[[Loaded], Mapping[str, str]]
    fragment: Fragment | None = None


def parse_formats(asked: str) -> tuple[str, ...]:
    """Return the formats of a list joined by commas, each once; `pytest-benchmark` is the file `pytest_benchmark.py`.

    Raises:
        UsageError: if there is no such format, or none is named.
    """
    names = list(dict.fromkeys(each.strip().replace("-", "_") for each in asked.split(",") if each.strip()))
    known = {name.replace("_", "-"): name for name in catalogue.entries("formats")}
    if not names:
        raise UsageError(f"--format needs at least one of {', '.join(known)}.")
    for name in names:
        if name not in known.values():
            raise unknown("format", name.replace("_", "-"), known)
    return tuple(names)


def of_tables() -> dict[str, Fragment]:
    """Return what writes tables alone, by format."""
    every: dict[str, Format] = catalogue.usable("formats")
    return {name: each.fragment for name, each in every.items() if each.fragment is not None}


def fragment_of(style: str | None) -> Fragment | None:
    """Return what writes tables alone in a format that was named; None where none was.

    Raises:
        UsageError: if there is no such format.
    """
    if style is None:
        return None
    known = of_tables()
    if style not in known:
        raise unknown("--format", style, known)
    return known[style]
