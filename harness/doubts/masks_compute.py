"""A module computed tokens that it claims to skip, and discarded the results."""

from __future__ import annotations

from modbench.harness.core.contracts import Doubt
from modbench.harness.core.labels import Label
from modbench.harness.results.evidence import Evidence


def finds(evidence: Evidence) -> str | None:
    """The first such module, and how many rows its weights were multiplied with."""
    masked = [claim for claim in evidence.counted.claims if claim.masked]
    if not masked:
        return None
    one = masked[0]
    return (
        f"{Label.MASKS_COMPUTE}: {one.module or 'the model'} says it processed {one.stated} of {one.tokens} tokens, but "
        f"its weights were multiplied with {one.rows:.0f} rows"
    )


DOUBT = Doubt(
    finds=finds,
    advice="Gather the selected tokens before the block; a mask saves no work.",
    label=Label.MASKS_COMPUTE,
)
