"""What a derived metric is computed from: the run and the case, besides the seconds of its source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modbench.harness.core.case import Case
from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.results.notes.counting import CountNotes
from modbench.harness.results.notes.timing import TimeNotes

if TYPE_CHECKING:
    from modbench.reports.tables import Tables


@dataclass(frozen=True)
class Derived:
    """What a derived metric is computed from, besides the seconds of its source.

    Attributes:
        tables: the run.
        case: the case.
        metric: the derived metric.
    """

    tables: Tables
    case: Case
    metric: Metric

    @property
    def tokens(self) -> float:
        """Tokens of one call or decode step."""
        source = self.tables.cell(self.case.id, self.metric.source)
        return float(next(notes.tokens for notes in source.notes(TimeNotes) if notes.tokens is not None))

    @property
    def peak(self) -> float | None:
        """The machine's measured peak in FLOP/s, for the case's number format."""
        return self.tables.peaks.get(self.case.place.dtype)

    @property
    def peak_reason(self) -> str:
        """Why there is no peak."""
        return f"no peak of this machine was measured for {self.case.place.dtype}"

    @property
    def counted(self) -> CountNotes:
        """Notes of the counting pass about the case."""
        return self.tables.counted(self.case)
