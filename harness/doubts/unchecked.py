"""A guard could not be run: what it would have found is not known."""

from __future__ import annotations

from modbench.harness.core.contracts import Doubt
from modbench.harness.core.labels import Label
from modbench.harness.results.evidence import Evidence
from modbench.harness.results.notes.timing import TimeNotes


def finds(evidence: Evidence) -> str | None:
    """Which guard, and why not."""
    said = [evidence.counted.guards] if evidence.counted.guards else []
    causality = evidence.counted.causality
    if causality is not None and causality.reads_future is None and causality.tried:
        said.append(f"whether it reads the future: {causality.reason}")
    said += [notes.unchecked for notes in evidence.notes(TimeNotes) if notes.unchecked]
    return f"{Label.UNCHECKED}: {'; '.join(dict.fromkeys(said))}" if said else None


DOUBT = Doubt(
    finds=finds,
    advice="Whether it skips what it claims, computes every call and looks only back is not known: take its word or mend it.",
    label=Label.UNCHECKED,
)
