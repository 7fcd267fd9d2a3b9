"""What a row gets depends on the other rows of its batch: so its audit found."""

from __future__ import annotations

from modbench.harness.core.labels import Label
from modbench.harness.domain.evidence import Doubt, Evidence


def finds(evidence: Evidence) -> str | None:
    """What the audit found."""
    said = evidence.audited.get(Label.ROWS_DEPEND)
    return f"{Label.ROWS_DEPEND}: {said}" if said else None


DOUBT = Doubt(
    finds=finds,
    advice=("Choose within each row: a loss or an answer at one batch size says nothing of another."),
    label=Label.ROWS_DEPEND,
)
