"""A call repeated an answer instead of computing it."""

from __future__ import annotations

from modbench.harness.core.contracts import Doubt
from modbench.harness.results.evidence import Evidence

LABEL = "does not compute every call"


def finds(evidence: Evidence) -> str | None:
    """What the guard saw."""
    found = evidence.counted.get("reused") or next(iter(evidence.note("reused")), None)
    return f"{LABEL}: {found}" if found else None


DOUBT = Doubt(
    finds=finds,
    advice="Its times are times of a look-up: switch the cache off.",
    label=LABEL,
)
