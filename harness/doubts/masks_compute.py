"""A module computed tokens that it says it skipped, and threw them away."""

from __future__ import annotations

from modbench.harness.core.contracts import Doubt
from modbench.harness.results.evidence import Evidence

LABEL = "computes what it claims to skip"


def finds(evidence: Evidence) -> str | None:
    """The module that did so, and how many rows its weights met."""
    masked = [claim for claim in evidence.counted.get("claims") or () if claim["masked"]]
    if not masked:
        return None
    one = masked[0]
    return (
        f"{LABEL}: {one['module'] or 'the model'} says it processed {one['stated']} of {one['tokens']} tokens, "
        f"its weights met {one['rows']:.0f}"
    )


DOUBT = Doubt(
    finds=finds,
    advice="Gather the chosen tokens before the block; a mask saves nothing.",
    label=LABEL,
)
