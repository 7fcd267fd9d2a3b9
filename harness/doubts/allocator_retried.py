"""The GPU allocator had to empty its cache and try again: the memory was nearly full."""

from __future__ import annotations

from modbench.harness.domain.evidence import Doubt, Evidence
from modbench.harness.domain.notes import MemoryNotes


def finds(evidence: Evidence) -> str | None:
    """How often the allocator retried."""
    times = sum(notes.alloc_retries or 0 for notes in evidence.notes(MemoryNotes))
    return f"the allocator retried {times:.0f} times: memory was nearly full" if times else None


DOUBT = Doubt(
    finds=finds,
    advice="Peaks this close to the memory limit are unreliable: measure on a larger card or with a smaller batch.",
)
