"""Work of weights was multiplied by 0 or dropped: its audit found no logit that depends on it."""

from __future__ import annotations

from modbench.harness.core.labels import Label
from modbench.harness.domain.evidence import doubt_of_audit

DOUBT = doubt_of_audit(
    Label.ZEROES,
    "Gather the tokens that a block computes before its products: what is computed and then zeroed costs what dense costs.",
)
