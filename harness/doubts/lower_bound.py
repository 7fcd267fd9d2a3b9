"""FLOPs were not wholly counted: an operator ran that no formula knows."""

from __future__ import annotations

from modbench.harness.core.contracts import Doubt
from modbench.harness.results.evidence import Evidence


def finds(evidence: Evidence) -> str | None:
    """Which operators."""
    if not evidence.metric.key.startswith(("flops/", "mfu")):
        return None
    names = (evidence.counted.get("operators") or {}).get("unknown") or {}
    return (
        f"FLOPs are a lower bound: no formula for {', '.join(f'{name} ({n} calls)' for name, n in names.items())}"
        if names
        else None
    )


DOUBT = Doubt(
    finds=finds,
    label="FLOPs are a lower bound",
    advice="Nothing is promised from it: there is no ideal, and no share of it.",
)
