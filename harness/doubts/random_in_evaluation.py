"""Equal calls in evaluation mode differ: its audit found that the model draws random numbers."""

from __future__ import annotations

from modbench.harness.core.labels import Label
from modbench.harness.domain.evidence import Doubt, Evidence


def finds(evidence: Evidence) -> str | None:
    """What the audit found."""
    said = evidence.audited.get(Label.RANDOM)
    return f"{Label.RANDOM}: {said}" if said else None


DOUBT = Doubt(
    finds=finds,
    advice=("Draw in training mode alone: here each number is that of one draw."),
    label=Label.RANDOM,
)
