"""Its audit found a property that does not hold, for which there is no label of its own."""

from __future__ import annotations

from modbench.harness.core.labels import Label
from modbench.harness.domain.evidence import Doubt, Evidence


def finds(evidence: Evidence) -> str | None:
    """What the audit found."""
    said = evidence.audited.get(Label.DEVIATES)
    return f"{Label.DEVIATES}: {said}" if said else None


DOUBT = Doubt(
    finds=finds,
    advice=("Read its card: `modbench audit` makes it again, and `docs/audit.md` says how each property is seen."),
    label=Label.DEVIATES,
)
