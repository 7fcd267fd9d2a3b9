"""The clock that times calls was changed: a model replaced it, or it disagrees with a clock that no model reaches."""

from __future__ import annotations

from modbench.harness.core.labels import Label
from modbench.harness.domain.evidence import Doubt, Evidence
from modbench.harness.domain.notes import TimeNotes


def finds(evidence: Evidence) -> str | None:
    """What the guard found."""
    found = next((notes.clock_changed for notes in evidence.notes(TimeNotes) if notes.clock_changed), None)
    return f"{Label.CLOCK_CHANGED}: {found}" if found else None


DOUBT = Doubt(
    finds=finds,
    advice="If only functions of `time` were replaced, the times stand: ours were bound before. If clocks disagree, none does.",
    label=Label.CLOCK_CHANGED,
)
