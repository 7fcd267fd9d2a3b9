"""How long a device may go on after its stream has ended before work must have escaped to another stream."""

from __future__ import annotations

SHARE = 0.05
# Waiting for a device that is idle already takes some microseconds.
FLOOR_S = 5e-5


def escape_limit(seconds: float) -> float:
    """How long a device may go on after its stream has ended before work must have escaped."""
    return max(FLOOR_S, SHARE * seconds)
