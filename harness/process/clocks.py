"""The clocks, bound before any user's model is loaded, so that a model that replaces `time.perf_counter` moves no number.

Every package reads its clocks from here. What a model replaced is put back and named. A second source tells whether the bound
clock ran as fast as the kernel's: ticks that the kernel counts for the process, which nobody reads through `time`.

The intervals in which a process measured or trained are on a clock that all processes of the machine share.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modbench.harness.process import clocks

perf_counter = time.perf_counter
monotonic = time.monotonic
process_time = time.process_time
thread_time = time.thread_time
_times = os.times

# What a model could replace, by name.
BOUND: Mapping[str, Callable[..., Any]] = {
    name: getattr(time, name)
    for name in (
        *("time", "perf_counter", "monotonic", "process_time", "thread_time"),
        *("time_ns", "perf_counter_ns", "monotonic_ns", "process_time_ns", "thread_time_ns"),
    )
}
# How far two clocks may be apart: the kernel's ticks are 10 ms long, and two clocks are not read at one moment.
LEAST_S, SHARE = 0.1, 0.03
# Intervals of this process so far: a worker makes one record, so one list is enough.
INTERVALS: list[tuple[float, float]] = []


def restored(wanted: Mapping[str, Callable[..., Any]] = BOUND) -> list[str]:
    """Put back the functions of `time` that were replaced; returns their names."""
    replaced = [name for name, function in wanted.items() if getattr(time, name, None) is not function]
    for name in replaced:
        setattr(time, name, wanted[name])
    return [f"time.{name}" for name in replaced]


def in_place() -> dict[str, Callable[..., Any]]:
    """The functions of `time` as they are now: a user's test may have frozen its time before anything is measured."""
    return {name: getattr(time, name) for name in BOUND}


def kernel_s() -> float:
    """Seconds that the kernel counted since some moment, in ticks; 0 where it does not count them."""
    return _times().elapsed


@dataclass(frozen=True)
class Span:
    """The beginning of a stretch of time on a clock that is to be checked, and on the kernel's.

    Attributes:
        read: the clock.
        started: what it read.
        kernel_started: what the kernel's read.
    """

    read: Callable[[], float]
    started: float
    kernel_started: float

    @classmethod
    def begin(cls, read: Callable[[], float] = perf_counter) -> Span:
        """Read both clocks."""
        return cls(read, read(), kernel_s())

    def apart(self) -> str | None:
        """How far the clock went from the kernel's since, in words; None if they agree or the kernel's stands still."""
        kernel = kernel_s() - self.kernel_started
        return disagreement(self.read() - self.started, kernel, "the kernel") if kernel_s() else None


def disagreement(clock_s: float, other_s: float, other: str, least_s: float = LEAST_S) -> str | None:
    """Describe two clocks that disagree about one stretch of time, in one sentence; None if they agree.

    Args:
        clock_s: seconds by the clock that times calls.
        other_s: seconds by the other.
        other: whose clock that is.
        least_s: difference that is always allowed, in s.
    """
    if abs(clock_s - other_s) <= max(least_s, SHARE * max(clock_s, other_s)):
        return None
    return f"the clock that timed the calls counted {clock_s:.3g} s where {other} counted {other_s:.3g} s"


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
