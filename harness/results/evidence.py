"""What a doubt is judged from: everything that was recorded about one metric of one case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modbench.harness.core.case import Case
from modbench.harness.core.contracts import Metric
from modbench.harness.results.records import Outcome

# The label of a model whose logits moved when later tokens did. It stands wherever the model does.
NOT_AUTOREGRESSIVE = "not autoregressive as measured"

Columns = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Evidence:
    """One cell of a report, as recorded.

    Attributes:
        case: what was measured.
        metric: in what respect.
        outcomes: one for each launch or seed.
        anchors: the anchor's outcomes of the same launches, for timings.
        blocks: witnesses of each launch's blocks, for timings.
        counted: notes of the counting pass about the case.
    """

    case: Case
    metric: Metric
    outcomes: Sequence[Outcome]
    anchors: Sequence[Outcome] = ()
    blocks: Sequence[Columns] = ()
    counted: Mapping[str, Any] = field(default_factory=dict)

    @property
    def timed(self) -> bool:
        """Whether this is a time of its own."""
        return self.metric.made_in == "time"

    def note(self, key: str) -> list[Any]:
        """A note of every outcome that has it."""
        return [outcome.notes[key] for outcome in self.outcomes if outcome.notes.get(key) is not None]
