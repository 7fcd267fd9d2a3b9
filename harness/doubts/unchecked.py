"""A guard could not run: what it would have found is unknown."""

from __future__ import annotations

from modbench.harness.core.labels import Label
from modbench.harness.domain.evidence import Doubt, Evidence
from modbench.harness.domain.notes import TimeNotes

# Modules that are named.
MOST = 3


def finds(evidence: Evidence) -> str | None:
    """Which guard could not run, and why."""
    reasons = [evidence.counted.guards] if evidence.counted.guards else []
    causality = evidence.counted.causality
    if causality is not None and causality.reads_future is None and causality.tried:
        reasons.append(f"whether it reads the future: {causality.reason}")
    unseen = [claim.module or "the model" for claim in evidence.counted.claims if claim.rows is None]
    if unseen:
        reasons.append(
            f"whether {', '.join(unseen[:MOST])} skipped what is claimed: products of its weights were not seen"
        )
    if evidence.counted.training_unchecked and evidence.metric.workload in {"train_step", "train"}:
        reasons.append(f"whether training mode computes less: {evidence.counted.training_unchecked}")
    reasons += [notes.unchecked for notes in evidence.notes(TimeNotes) if notes.unchecked]
    return f"{Label.UNCHECKED}: {'; '.join(dict.fromkeys(reasons))}" if reasons else None


DOUBT = Doubt(
    finds=finds,
    advice="Fix the cause: it is unknown whether it skips what it claims, computes every call and reads only earlier tokens.",
    label=Label.UNCHECKED,
)
