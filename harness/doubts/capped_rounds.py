"""The pilot asked for more rounds than were allowed."""

from __future__ import annotations

from modbench.harness.core.contracts import Doubt
from modbench.harness.results.evidence import Evidence


def finds(evidence: Evidence) -> str | None:
    """What a narrow interval would have taken."""
    short = [note for note in evidence.note("rounds") if note["asked"] > note["made"]]
    if not short:
        return None
    most = max(note["asked"] for note in short)
    return f"in {len(short)} launches the pilot asked for up to {most} rounds, {short[0]['made']} were allowed"


DOUBT = Doubt(
    finds=finds,
    advice="Raise `most_rounds`, or accept the width of the interval.",
)
