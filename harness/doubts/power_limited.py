"""The GPU reached its power limit: an arm may be faster only because the card was cooler."""

from __future__ import annotations

from modbench.harness.domain.evidence import Doubt, Evidence
from modbench.harness.stats import contamination


def finds(evidence: Evidence) -> str | None:
    """Share of blocks under the power cap."""
    capped = [block for columns in evidence.blocks for block in contamination.power_capped(columns)]
    return f"power-limited in {sum(capped) / len(capped):.0%} of the blocks" if any(capped) else None


DOUBT = Doubt(
    finds=finds,
    advice="Compare only arms with a similar share, or lock the clocks below the limit.",
)
