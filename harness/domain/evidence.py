"""Warnings, and the evidence for them: everything recorded about one metric of one case."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from pydantic import model_validator

from modbench.harness.core.contracts import AnyMetric
from modbench.harness.core.immutable import Frozen
from modbench.harness.core.labels import Label
from modbench.harness.domain.case import Case
from modbench.harness.domain.notes import CountNotes, Notes, SomeNotes
from modbench.harness.domain.records import Outcome
from modbench.harness.stats import power
from modbench.harness.stats.against_baseline import Process

Columns = Mapping[str, Sequence[float]]


class ProcessCount(Frozen):
    """The number of processes of a series: the processes of one comparison and workload.

    Attributes:
        pilot: processes of the pilot.
        used: of these, processes that the number was computed from: a process that failed has no times.
        variants: variants whose effects against the baseline were used.
        sd: standard deviation of a log-effect between processes; None if too few processes have times.
        detectable: the minimum detectable effect that was wanted, as a share.
        asked: processes that reach it; None if too few processes have times.
        most: the most processes that were allowed.
        made: processes of the series.
        reason: why there is no number; None if there is.
    """

    pilot: int
    used: int
    variants: int
    sd: float | None
    detectable: float
    asked: int | None
    most: int
    made: int
    reason: str | None = None

    @model_validator(mode="after")
    def _has_a_number_or_none(self) -> ProcessCount:
        if (self.sd is None) != (self.asked is None):
            raise ValueError("a standard deviation without a number of processes, or a number without one")
        return self

    @property
    def asked_in_words(self) -> str:
        """The number that was asked for, `1000 or more` where it was not searched further."""
        return f"{self.asked}{' or more' * (self.asked is not None and self.asked >= power.MOST)}"

    @property
    def capped(self) -> bool:
        """Whether more processes were asked for than were allowed."""
        return self.asked is not None and self.asked > self.made


@dataclass(frozen=True)
class Evidence:
    """One cell of a report, as recorded.

    Attributes:
        case: the case.
        metric: the metric.
        outcomes: one per process or seed.
        processes: those of the same processes, for timings.
        counted: results of counting the case.
        baseline_counted: the same of the baseline.
        decision: the number of processes that a pilot asked for; None: it is fixed.
        drift: how the variant drifted relative to its baseline, over all processes; None: it did not.
        same_as: other settings of the model with the same FLOPs, parameters and losses, bit for bit; by variant, what differs.
        findings: of the jobs of its comparison that belong to no metric.
        baseline_s: median seconds of a call of the baseline; None where it was not timed.
        timed: whether the metric is measured as a time, not derived from one.
        audited: sentences of the model's audit by the label that they bring; empty where it was not audited.
    """

    case: Case
    metric: AnyMetric
    outcomes: Sequence[Outcome]
    processes: Sequence[Process] = ()
    counted: CountNotes = field(default_factory=CountNotes)
    baseline_counted: CountNotes = field(default_factory=CountNotes)
    decision: ProcessCount | None = None
    drift: str | None = None
    same_as: Mapping[str, Sequence[str]] = field(default_factory=dict)
    findings: Sequence[Notes] = ()
    baseline_s: float | None = None
    timed: bool = False
    audited: Mapping[Label, str] = field(default_factory=dict)

    @property
    def beside(self) -> Sequence[Process]:
        """The processes that timed the case beside its baseline; none of the baseline's own time."""
        return [each for each in self.processes if each.baseline in each.variants and each.baseline != self.case.id]

    def notes(self, kind: type[SomeNotes]) -> list[SomeNotes]:
        """Notes of that kind, of the outcomes that have them."""
        return [outcome.notes for outcome in self.outcomes if isinstance(outcome.notes, kind)]


Check: TypeAlias = Callable[[Evidence], str | None]


@dataclass(frozen=True)
class CellWarning:
    """A reason not to trust a number. Its file's first docstring line is its description.

    Attributes:
        check: describes in one sentence what is wrong with a cell; None: nothing.
        advice: what to do about it.
        label: warning shown with the case in every output; None if the finding concerns only this cell.
    """

    check: Check
    advice: str
    label: Label | None = None


def warning(advice: str, label: Label | None = None) -> Callable[[Check], CellWarning]:
    """Make a warning of a function that finds it, which `registry/discovery.py` sees without importing its file.

    The function's name is the warning's, and the first line of its docstring its description; what it finds is told with the
    label.
    """

    def made(check: Check) -> CellWarning:
        def labelled(evidence: Evidence) -> str | None:
            said = check(evidence)
            return f"{label}: {said}" if said else None

        return CellWarning(labelled if label else check, advice, label)

    return made
