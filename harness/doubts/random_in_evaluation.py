"""Equal calls in evaluation mode differ: its audit found that the model draws random numbers."""

from __future__ import annotations

from modbench.harness.core.labels import Label
from modbench.harness.domain.evidence import doubt_of_audit

DOUBT = doubt_of_audit(
    Label.RANDOM,
    "Draw in training mode alone: here each number is that of one draw.",
)
