"""A module computed tokens that it claims to skip, and discarded the results."""

from __future__ import annotations

from modbench.harness.core.labels import Label
from modbench.harness.domain.evidence import Doubt, Evidence


def finds(evidence: Evidence) -> str | None:
    """The first such module, and how many rows its weights were multiplied with."""
    masked = [claim for claim in evidence.counted.claims if claim.masked]
    return f"{Label.MASKS_COMPUTE}: {masked[0].said}" if masked else None


DOUBT = Doubt(
    finds=finds,
    advice="Gather the selected tokens before the block; a mask saves no work.",
    label=Label.MASKS_COMPUTE,
)
