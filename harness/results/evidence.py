"""The evidence for doubts: everything that was recorded about one metric of one case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from modbench.harness.core.case import Case
from modbench.harness.core.contracts import AnyMetric
from modbench.harness.results.notes import SomeNotes
from modbench.harness.results.notes.counting import CountNotes
from modbench.harness.results.records import Outcome

if TYPE_CHECKING:
    from modbench.harness.rules.launch_count import LaunchCount

Columns = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Launch:
    """Samples of one arm in one launch, and what witnesses saw of its blocks."""

    samples: Columns
    blocks: Columns


@dataclass(frozen=True)
class Evidence:
    """One cell of a report, as recorded.

    Attributes:
        case: the case.
        metric: the metric.
        outcomes: one per launch or seed.
        anchors: the anchor's outcomes of the same launches, for timings.
        blocks: witnesses of each launch's blocks, for timings.
        counted: results of counting the case.
        anchor_counted: the same of the anchor.
        decision: the number of launches that a pilot asked for; None: it is fixed.
        drift: how the arm drifted relative to its anchor, over all launches; None: it did not.
        same_as: other settings of the model with the same FLOPs, parameters and losses, bit for bit; by arm, what differs.
        without_own: the anchor in a process without the user's code; None where there was none.
        timed: whether the metric is measured as a time, not derived from one.
    """

    case: Case
    metric: AnyMetric
    outcomes: Sequence[Outcome]
    anchors: Sequence[Outcome] = ()
    blocks: Sequence[Columns] = ()
    counted: CountNotes = field(default_factory=CountNotes)
    anchor_counted: CountNotes = field(default_factory=CountNotes)
    decision: LaunchCount | None = None
    drift: str | None = None
    same_as: Mapping[str, Sequence[str]] = field(default_factory=dict)
    without_own: Launch | None = None
    timed: bool = False

    def notes(self, kind: type[SomeNotes]) -> list[SomeNotes]:
        """Notes of that kind, of the outcomes that have them."""
        return [outcome.notes for outcome in self.outcomes if isinstance(outcome.notes, kind)]
