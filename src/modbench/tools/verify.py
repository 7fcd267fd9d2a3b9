"""The work behind `modbench verify`: published numbers, recomputed and compared."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from modbench import published
from modbench.harness.core.errors import UsageError
from modbench.harness.planning.select import compile_expression
from modbench.published._rows import TIE, Row, Source

Verdict = Literal["reproduced", "not reproduced", "wrong"]


@dataclass(frozen=True)
class Verified:
    """A row with our value.

    Attributes:
        name: name of its source's file.
        source: the source.
        row: the row.
    """

    name: str
    source: Source
    row: Row

    @property
    def key(self) -> str:
        """What `-k` matches."""
        return f"{self.name} {self.row.what}"

    @cached_property
    def ours(self) -> float:
        """Our value."""
        return float(self.row.ours())

    @property
    def residual(self) -> float:
        """Ours less the published value."""
        return self.ours - self.row.printed.value

    @property
    def verdict(self) -> Verdict:
        """`wrong` where a convention is claimed to reproduce the number and does not."""
        if self.row.why_not:
            return "not reproduced"
        within = abs(self.residual) <= self.row.printed.tolerance + TIE * abs(self.row.printed.value)
        return "reproduced" if within else "wrong"

    def as_dict(self) -> dict[str, Any]:
        """One entry of `--json`."""
        row = self.row
        return {
            "source": self.name,
            "title": self.source.title,
            "address": self.source.address,
            "what": row.what,
            "where": row.where,
            "config": row.config,
            "printed": row.printed.text,
            "published": row.printed.value,
            "ours": self.ours,
            "unit": row.unit,
            "residual": self.residual,
            "relative": self.residual / row.printed.value,
            "tolerance": row.printed.tolerance,
            "convention": row.convention,
            "form": row.form,
            "verdict": self.verdict,
            "realised": row.realised,
            "reason": row.why_not or None,
        }


def sources() -> dict[str, Source]:
    """All sources by the name of their file. Their rows are not computed yet."""
    names = sorted(module.name for module in pkgutil.iter_modules(published.__path__))
    return {
        name: importlib.import_module(f"{published.__name__}.{name}").SOURCE
        for name in names
        if not name.startswith("_")
    }


def verified(select: str = "") -> list[Verified]:
    """The rows that `-k` selects, in the order of their sources.

    Raises:
        UsageError: if the expression does not parse, or selects nothing.
    """
    rows = [Verified(name, source, row) for name, source in sources().items() for row in source.rows]
    if not select:
        return rows
    matches = compile_expression(select)
    chosen = [each for each in rows if matches(each.key)]
    if not chosen:
        raise UsageError(f"-k {select!r} selects no row. Sources: {', '.join(sources())}.")
    return chosen


def wrong(rows: Iterable[Verified]) -> list[Verified]:
    """Rows that are claimed to be reproduced, and are not."""
    return [each for each in rows if each.verdict == "wrong"]
