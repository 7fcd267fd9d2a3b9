"""When a process was inside measured or trained work, on a clock that all processes of the machine share."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator

# Intervals of this process so far: a worker makes one record, and so one list.
INTERVALS: list[tuple[float, float]] = []


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """What runs inside counts as measured or trained work; starting, loading and building do not."""
    start = time.monotonic()
    try:
        yield
    finally:
        INTERVALS.append((start, time.monotonic()))


def union_s(intervals: Iterable[tuple[float, float]]) -> float:
    """Seconds in which at least one of the intervals was open."""
    total, end = 0.0, float("-inf")
    for low, high in sorted(intervals):
        total += max(0.0, high - max(low, end))
        end = max(end, high)
    return total
