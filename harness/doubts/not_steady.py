"""The arm was still getting faster or slower relative to its anchor when it was measured."""

from __future__ import annotations

from modbench.harness.core.contracts import Doubt
from modbench.harness.results.evidence import Evidence
from modbench.harness.results.notes.timing import TimeNotes


def finds(evidence: Evidence) -> str | None:
    """The drift that remained after a second warm-up."""
    found = [notes.unsteady for notes in evidence.notes(TimeNotes) if notes.unsteady]
    return f"not steady after two warm-ups: {found[0]}" if found else None


DOUBT = Doubt(
    finds=finds,
    advice="Look for caches that are still filling or compilation that is still running; raise `rounds`.",
)
