"""The GPU reached its power limit: an arm may be faster only because the card was cooler."""

from __future__ import annotations

from modbench.harness.core.contracts import Doubt
from modbench.harness.results.evidence import Evidence
from modbench.harness.stats.contamination import POWER_CAPPED


def finds(evidence: Evidence) -> str | None:
    """Share of blocks under the power cap."""
    bits = [int(value) for columns in evidence.blocks for value in columns.get("throttle", ())]
    capped = sum(bool(value & POWER_CAPPED) for value in bits)
    return f"power-limited in {capped / len(bits):.0%} of the blocks" if capped else None


DOUBT = Doubt(
    finds=finds,
    advice="Compare only arms with a similar share, or lock the clocks below the limit.",
)
