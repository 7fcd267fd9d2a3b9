"""The pilot asked for more rounds than were allowed."""

from __future__ import annotations

from modbench.harness.core.contracts import Doubt
from modbench.harness.results.evidence import Evidence
from modbench.harness.results.notes.timing import TimeNotes


def finds(evidence: Evidence) -> str | None:
    """How many rounds a narrow interval would have needed."""
    made = [notes.rounds for notes in evidence.notes(TimeNotes) if notes.rounds]
    short = [rounds for rounds in made if rounds.asked > rounds.made]
    if not short:
        return None
    most = max(rounds.asked for rounds in short)
    return f"in {len(short)} launches the pilot asked for up to {most} rounds, but only {short[0].made} were allowed"


DOUBT = Doubt(
    finds=finds,
    advice="Raise `most_rounds`, or accept a wider interval.",
)
