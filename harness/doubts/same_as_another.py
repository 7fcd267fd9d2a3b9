"""Another setting of the model gives the same FLOPs, parameters and losses, bit for bit."""

from __future__ import annotations

from modbench.harness.core.labels import Label
from modbench.harness.domain.evidence import Doubt, Evidence


def finds(evidence: Evidence) -> str | None:
    """The first such arm, and the settings that differ."""
    for arm, keys in evidence.same_as.items():
        return (
            f"{Label.SAME}: FLOPs, parameters and losses equal those of {arm}, bit for bit; {', '.join(keys)} differs"
        )
    return None


DOUBT = Doubt(
    finds=finds,
    advice="If it should change what is computed, the setting does not reach the model. If it only changes how, as a chunk size "
    "does, compare times and memory alone.",
    label=Label.SAME,
)
