"""Products were computed in a narrower number format than the case's: fewer digits are faster, and another result."""

from __future__ import annotations

from modbench.harness.core.labels import Label
from modbench.harness.domain.evidence import Doubt, Evidence
from modbench.harness.domain.notes import TimeNotes


def finds(evidence: Evidence) -> str | None:
    """Which share of the FLOPs, and in which format."""
    timed = (notes.other_precision for notes in evidence.notes(TimeNotes) if notes.other_precision)
    found = evidence.counted.other_precision or next(timed, None)
    return f"{Label.OTHER_PRECISION}: {found}" if found else None


DOUBT = Doubt(
    finds=finds,
    advice="Measure all arms in that format: `dtype` in the suite's grid.",
    label=Label.OTHER_PRECISION,
)
