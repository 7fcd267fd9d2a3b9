"""A training step ran far fewer FLOPs than the forward pass in evaluation mode implies."""

from __future__ import annotations

from modbench.harness.core.contracts import Doubt
from modbench.harness.core.labels import Label
from modbench.harness.results.evidence import Evidence

# Share of three times the forward pass. Frozen weights save a third at most.
LEAST_SHARE = 0.6


def finds(evidence: Evidence) -> str | None:
    """Share of the expected FLOPs that ran."""
    share = evidence.counted.trained_share
    if share is None or share >= LEAST_SHARE:
        return None
    return f"{Label.IDLE_IN_TRAINING}: a training step ran {share:.0%} of three times the forward pass's FLOPs"


DOUBT = Doubt(
    finds=finds,
    advice="The model computes something else in training mode: the FLOPs stated for a training step did not run.",
    label=Label.IDLE_IN_TRAINING,
)
