"""Work of weights was multiplied by 0 or dropped: its audit found no logit that depends on it."""

from __future__ import annotations

from modbench.harness.core.labels import Label
from modbench.harness.domain.evidence import Doubt, Evidence


def finds(evidence: Evidence) -> str | None:
    """What the audit found."""
    said = evidence.audited.get(Label.ZEROES)
    return f"{Label.ZEROES}: {said}" if said else None


DOUBT = Doubt(
    finds=finds,
    advice=(
        "Gather the tokens that a block computes before its products: what is computed and then zeroed costs what dense costs."
    ),
    label=Label.ZEROES,
)
