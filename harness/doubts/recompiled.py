"""Code was compiled inside the timed region."""

from __future__ import annotations

from modbench.harness.domain.evidence import Doubt, Evidence


def finds(evidence: Evidence) -> str | None:
    """How many samples include a compilation."""
    times = sum(value > 0 for outcome in evidence.outcomes for value in outcome.samples.get("recompiles", ()))
    return f"{times} samples include the compilation of a new graph" if times else None


DOUBT = Doubt(
    finds=finds,
    advice="Shapes or flags change between calls: measure one length per process, or mark the shapes as dynamic.",
)
