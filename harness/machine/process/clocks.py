"""The clocks, bound before any user's code is loaded, so that a test that freezes `time.perf_counter` moves no number.

Every package reads its clocks from here. The intervals in which a process measured or trained are on a clock that all processes
of the machine share.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator

from modbench.harness.machine.process import clocks

perf_counter = time.perf_counter
monotonic = time.monotonic
process_time = time.process_time
thread_time = time.thread_time

# Intervals of this process so far: a worker makes one record, so one list is enough.
INTERVALS: list[tuple[float, float]] = []


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """Count what runs inside as measured or trained work; starting, loading and building models do not belong here."""
    start = clocks.monotonic()
    try:
        yield
    finally:
        INTERVALS.append((start, clocks.monotonic()))


def union_s(intervals: Iterable[tuple[float, float]]) -> float:
    """Length of the union of intervals, in s."""
    total, end = 0.0, float("-inf")
    for low, high in sorted(intervals):
        total += max(0.0, high - max(low, end))
        end = max(end, high)
    return total
