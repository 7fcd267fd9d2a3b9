"""The held-out loss of the best of a sweep, trained again: fresh seeds, and windows that chose nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modbench.harness.core.contracts import Metric
from modbench.harness.core.errors import Unmeasured
from modbench.harness.core.units import Range

if TYPE_CHECKING:
    from modbench.harness.passes._training import Trained


def _causal(trained: Trained) -> float:
    if trained.held_out.causal is None:
        raise Unmeasured(trained.held_out.causal_reason)
    return trained.held_out.causal


METRICS: tuple[Metric[Trained, float], ...] = (
    Metric(
        key="loss/confirmed",
        unit="nat",
        better="lower",
        made_in="confirm",
        workload="train",
        about="Held-out loss per token of the best of a sweep: fresh seeds, windows that chose nothing, causal routing",
        measure=_causal,
        scored_as="difference",
        noun="a loss",
        range=Range(0),
    ),
)
