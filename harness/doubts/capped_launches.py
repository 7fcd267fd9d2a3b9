"""The pilot asked for more launches than were allowed."""

from __future__ import annotations

from modbench.harness.core.labels import Label
from modbench.harness.domain.evidence import Doubt, Evidence


def finds(evidence: Evidence) -> str | None:
    """How many launches the wanted minimum detectable effect would have needed."""
    decided = evidence.decision
    if decided is None or not decided.capped:
        return None
    return (
        f"launches capped: the pilot asked for {decided.asked_in_words} launches to detect {decided.mde:.1%}, but only "
        f"{decided.made} were allowed: launches differ by {decided.sd:.1%}"
    )


DOUBT = Doubt(
    finds=finds,
    advice="Raise `most_launches`, accept a wider interval, or look for what makes launches differ (`modbench doctor`).",
    label=Label.LAUNCHES_CAPPED,
)
