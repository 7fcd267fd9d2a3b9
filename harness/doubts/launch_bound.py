"""The host cannot launch kernels fast enough: saved FLOPs cannot save time."""

from __future__ import annotations

from modbench.harness.domain.evidence import Doubt, Evidence
from modbench.harness.domain.notes import TimeNotes

LEAST_SHARE = 0.7


def finds(evidence: Evidence) -> str | None:
    """Share of the end-to-end time in which the device was busy."""
    shares = [notes.device_share for notes in evidence.notes(TimeNotes) if notes.device_share is not None]
    if not shares or min(shares) >= LEAST_SHARE:
        return None
    return f"launch-bound: the device was busy for {min(shares):.0%} of the end-to-end time"


DOUBT = Doubt(
    finds=finds,
    advice="Use larger batches, `--compile` or a CUDA graph; `latency/forward/device` shows the time of the device alone.",
)
