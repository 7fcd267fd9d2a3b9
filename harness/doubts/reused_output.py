"""A call returned an earlier answer instead of computing it."""

from __future__ import annotations

from modbench.harness.core.labels import Label
from modbench.harness.domain.evidence import Doubt, Evidence
from modbench.harness.domain.notes import TimeNotes


def finds(evidence: Evidence) -> str | None:
    """What the guard found."""
    timed = (notes.reused for notes in evidence.notes(TimeNotes) if notes.reused)
    found = evidence.counted.reused or next(timed, None)
    return f"{Label.REUSES_OUTPUT}: {found}" if found else None


DOUBT = Doubt(
    finds=finds,
    advice="The times are those of a cache look-up: switch the cache off.",
    label=Label.REUSES_OUTPUT,
)
