"""The held-out loss of the best of a sweep, trained again: new seeds, and windows that chose nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modbench.extend import Metric, Range, causal

if TYPE_CHECKING:
    from modbench.extend import Trained


METRICS: tuple[Metric[Trained, float], ...] = (
    Metric(
        key="loss/confirmed",
        unit="nat",
        better="lower",
        measured_by="confirm",
        workload="train",
        about="Held-out loss per token of the best of a sweep: new seeds, held-out sequences that chose nothing, causal routing",
        measure=causal,
        scored_as="difference",
        range=Range(0),
    ),
)
