"""What a row gets depends on the other rows of its batch: so its audit found."""

from __future__ import annotations

from modbench.harness.core.labels import Label
from modbench.harness.domain.evidence import doubt_of_audit

DOUBT = doubt_of_audit(
    Label.ROWS_DEPEND,
    "Choose within each row: a loss or an answer at one batch size says nothing of another.",
)
