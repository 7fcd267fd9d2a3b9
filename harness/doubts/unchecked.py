"""A guard could not be run: what it would have found is not known."""

from __future__ import annotations

from modbench.harness.core.contracts import Doubt
from modbench.harness.results.evidence import Evidence

LABEL = "could not be checked"


def finds(evidence: Evidence) -> str | None:
    """Which guard, and why not."""
    said = [str(evidence.counted["guards"])] if evidence.counted.get("guards") else []
    causality = evidence.counted.get("causality") or {}
    if causality.get("reads_future") is None and causality.get("tried"):
        said.append(f"whether it reads the future: {causality['reason']}")
    said += evidence.note("unchecked")
    return f"{LABEL}: {'; '.join(dict.fromkeys(said))}" if said else None


DOUBT = Doubt(
    finds=finds,
    advice="Whether it skips what it claims, computes every call and looks only back is not known: take its word or mend it.",
    label=LABEL,
)
