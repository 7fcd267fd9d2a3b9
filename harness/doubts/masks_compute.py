"""A module computed tokens that it says it skipped, and threw them away."""

from __future__ import annotations

from modbench.harness.core.contracts import Doubt
from modbench.harness.core.labels import Label
from modbench.harness.results.evidence import Evidence


def finds(evidence: Evidence) -> str | None:
    """The module that did so, and how many rows its weights met."""
    masked = [claim for claim in evidence.counted.claims if claim.masked]
    if not masked:
        return None
    one = masked[0]
    return (
        f"{Label.MASKS_COMPUTE}: {one.module or 'the model'} says it processed {one.stated} of {one.tokens} tokens, "
        f"its weights were multiplied with {one.rows:.0f}"
    )


DOUBT = Doubt(
    finds=finds,
    advice="Gather the chosen tokens before the block; a mask saves nothing.",
    label=Label.MASKS_COMPUTE,
)
