"""A training step ran far fewer FLOPs than a forward pass in evaluation promises."""

from __future__ import annotations

from modbench.harness.core.contracts import Doubt
from modbench.harness.core.labels import Label
from modbench.harness.results.evidence import Evidence

# Of three times the forward pass. Frozen weights save a third at most.
LEAST_SHARE = 0.6


def finds(evidence: Evidence) -> str | None:
    """The share of the FLOPs that ran."""
    share = evidence.counted.trained_share
    if share is None or share >= LEAST_SHARE:
        return None
    return f"{Label.IDLE_IN_TRAINING}: a training step ran {share:.0%} of three times the forward pass's FLOPs"


DOUBT = Doubt(
    finds=finds,
    advice="In training mode it is another model: its FLOPs of a training step are not what ran.",
    label=Label.IDLE_IN_TRAINING,
)
