"""The arm was still getting faster or slower relative to its anchor when it was measured."""

from __future__ import annotations

from modbench.harness.domain.evidence import Doubt, Evidence


def finds(evidence: Evidence) -> str | None:
    """The drift that remained after a warm-up, over all launches."""
    return f"not steady: {evidence.drift}" if evidence.drift else None


DOUBT = Doubt(
    finds=finds,
    advice="Look for caches that are still filling or compilation that is still running; raise `rounds`.",
)
