"""A limit on the time that a device works after its stream has ended: above it, work ran on another stream."""

from __future__ import annotations

SHARE = 0.05
# Waiting for an idle device already takes some microseconds.
FLOOR_S = 5e-5


def escape_limit(seconds: float) -> float:
    """Seconds that a device may work after a stream that took `seconds`, before work counts as escaped."""
    return max(FLOOR_S, SHARE * seconds)
