"""A training step ran fewer FLOPs than the forward pass in evaluation mode implies."""

from __future__ import annotations

from modbench.harness.core.labels import Label
from modbench.harness.domain.evidence import Doubt, Evidence
from modbench.harness.domain.notes import TimeNotes

# Share of what forward and backward should run. Products with detached inputs save some of the backward pass.
LEAST_SHARE = 0.6
# Share of the forward pass alone, counted on the same tokens: only a gate that draws random numbers moves it a little.
LEAST_FORWARD = 0.92


def finds(evidence: Evidence) -> str | None:
    """Share of the expected FLOPs that ran: of the forward pass in training mode, or of the whole step."""
    timed = [notes.train_forward_share for notes in evidence.notes(TimeNotes)]
    forward = [share for share in (evidence.counted.train_forward_share, *timed) if share is not None]
    if forward and min(forward) < LEAST_FORWARD:
        return (
            f"{Label.IDLE_IN_TRAINING}: in training mode the forward pass ran {min(forward):.0%} of the FLOPs that it runs in "
            "evaluation mode"
        )
    share = evidence.counted.trained_share
    if share is None or share >= LEAST_SHARE:
        return None
    return f"{Label.IDLE_IN_TRAINING}: a training step ran {share:.0%} of the FLOPs that its forward pass implies"


DOUBT = Doubt(
    finds=finds,
    advice="The model computes something else in training mode: the FLOPs stated for a training step did not run.",
    label=Label.IDLE_IN_TRAINING,
)
