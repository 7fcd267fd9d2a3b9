"""Its audit found a property that does not hold, for which there is no label of its own."""

from __future__ import annotations

from modbench.harness.core.labels import Label
from modbench.harness.domain.evidence import doubt_of_audit

DOUBT = doubt_of_audit(
    Label.DEVIATES,
    "Read its card: `modbench audit` makes it again, and `docs/audit.md` says how each property is seen.",
)
