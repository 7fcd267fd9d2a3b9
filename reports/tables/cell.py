"""One cell of a report: all outcomes of one metric of one case, or why it has no value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from modbench.harness.domain.notes import SomeNotes
from modbench.harness.domain.records import Failure, Outcome
from modbench.harness.stats.reason import Reason
from modbench.reports.blocks import Interval, Value
from modbench.reports.markup.number_format import plain
from modbench.reports.reasons import sentence


class Trouble(NamedTuple):
    """Why a metric has no value: whether it `failed` or was `skipped`, the reason, and what sort of failure it was."""

    status: Literal["failed", "skipped"]
    reason: str
    kind: Failure | None = None


@dataclass
class Cell:
    """All outcomes of one metric of one case, over processes or seeds.

    Attributes:
        outcomes: (process or seed, outcome), in order.
        missing: names of planned jobs without a record.
        nodes: fingerprint and hardware of the nodes of a cluster that its units name.
        versions: of the user's files that its units ran.
        series: what its processes share, whose number a pilot may have decided.
        left_out: why a search did not measure it; None if it did, or if nothing was searched.
    """

    outcomes: list[tuple[int, Outcome]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    nodes: dict[str, str] = field(default_factory=dict)
    versions: Mapping[str, frozenset[str]] = field(default_factory=dict)
    series: str = ""
    left_out: str | None = None

    @property
    def partly(self) -> str | None:
        """How many processes of an incomplete run have ended, of which there must be two; None if all have."""
        done, every = len(self.outcomes), len(self.outcomes) + len(self.missing)
        partly = self.series and self.missing and done > 1
        return f"{done} of {every} processes: the run is incomplete" if partly else None

    def trouble(self) -> Trouble | None:
        """Return why the cell has no value, or None."""
        failed = [outcome for _, outcome in self.outcomes if outcome.status == "failed"]
        if failed:
            first = failed[0]
            part = f" (in {len(failed)} of {len(self.outcomes)} jobs)" if len(failed) < len(self.outcomes) else ""
            kind = "" if first.kind == "damaged" else f"{first.kind}: "  # the reason says it
            return Trouble("failed", f"{kind}{first.reason}{part}", first.kind)
        for _, outcome in self.outcomes:
            if outcome.status == "skipped":
                return Trouble("skipped", str(outcome.reason))
        if self.left_out and not self.missing and not self.outcomes:
            return Trouble("skipped", self.left_out)
        if (self.missing and not self.partly) or not self.outcomes:
            name = self.missing[0] if self.missing else "none was planned"
            return Trouble("skipped", f"not measured: the unit has no record ({name})")
        return None

    def good(self) -> dict[int, Outcome]:
        """Return the good outcome of each process or seed."""
        return {number: outcome for number, outcome in self.outcomes if outcome.status == "ok"}

    def values(self) -> dict[int, float]:
        """Return the value of each seed (or process) that has one, for metrics with one value per unit."""
        return {number: outcome.samples["value"][0] for number, outcome in self.good().items()}

    def notes(self, kind: type[SomeNotes]) -> list[SomeNotes]:
        """Return the notes of that kind, of all outcomes in order."""
        return [outcome.notes for _, outcome in self.outcomes if isinstance(outcome.notes, kind)]


def columns_of(found: Interval, value: str = "value", before: str = "") -> dict[str, float | None]:
    """Return a number and its ends by the names of their columns: `value`, `ci_low`, `ci_high`."""
    return {value: found.value, f"{before}ci_low": found.low, f"{before}ci_high": found.high}


def joined_reasons(reasons: Iterable[Reason | Value]) -> str | None:
    """Join reasons, of which some may be in words and joined already, into one cell, each once; None if there are none."""
    words = [plain(sentence(each) if isinstance(each, Reason) else each) for each in reasons if each]
    return "; ".join(dict.fromkeys(each for reason in words for each in reason.split("; "))) or None
