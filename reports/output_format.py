"""The format type: one way to write what the page says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modbench.harness.core.errors import UsageError, unknown
from modbench.harness.registry import catalogue

if TYPE_CHECKING:
    from modbench.reports.tables.load import Loaded

# The page's file.
PAGE = "report.html"
# What every run is written as.
DEFAULT = ("csv", "html")


@dataclass(frozen=True)
class Format:
    """A format; its file's first docstring line says what it is.

    Attributes:
        files: pure function from a loaded run to the files' contents by name. Without dates: equal runs make equal bytes.
    """

    files: Callable[[Loaded], Mapping[str, str]]


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
