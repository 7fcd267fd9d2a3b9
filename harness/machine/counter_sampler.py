"""Witnesses: system counters read around every sample and block, which show what else happened meanwhile.

Every sample is kept, whatever they show (`noise.py` labels it). What a system does not expose has no column, since
unknown is not zero. Reading takes some microseconds, outside the timed region.
"""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import struct
import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from modbench.harness.machine.process import clocks
from modbench.harness.machine.process.processes import text_of

Reading = Mapping[str, float]
Reader = Callable[[], float]

# Numbers of the system call perf_event_open, by machine; its manual page has the layout of what it takes and gives.
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
# Type and number of the event that is counted: instructions retired.
EVENT = (0, 1)


class CounterSampler:
    """Readers by column: counters, whose value is the difference over a sample, and levels, whose value is the last reading.

    Args:
        counters: column to a function that returns the count so far.
        levels: column to a function that returns the value now.
    """

    def __init__(self, counters: Mapping[str, Reader], levels: Mapping[str, Reader] | None = None) -> None:
        self.counters, self.levels = dict(counters), dict(levels or {})
        self.columns = (*self.counters, *self.levels)

    def read(self) -> dict[str, float]:
        """Read all counters."""
        return {name: reader() for name, reader in self.counters.items()}

    def since(self, before: Reading) -> dict[str, float]:
        """The growth of all counters since a reading, and the levels now."""
        now = self.read()
        # A sum over threads or processors falls when one of them goes; it has not counted backwards.
        grown = {name: max(0.0, now[name] - before[name]) for name in self.counters}
        return grown | {name: reader() for name, reader in self.levels.items()}


class Collector:
    """Measures the seconds that Python's garbage collector takes in this process."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._started = 0.0
        gc.callbacks.append(self._note)

    def _note(self, phase: str, _info: object) -> None:
        if phase == "start":
            self._started = clocks.perf_counter()
        else:
            self.seconds += clocks.perf_counter() - self._started

    def close(self) -> None:
        """Stop listening."""
        gc.callbacks.remove(self._note)


def of_samples(threads: int, collector: Collector) -> CounterSampler:
    """Sampler of counters of the noise of a sample: preemption, waiting for a processor, garbage collection, recompilation.

    Columns: `involuntary` (context switches against the thread's will), `wait_s` (ready but not running), `collect_s`
    (garbage collection), `recompiles` (graphs that torch compiled); of one thread also `voluntary` (context switches of its own
    will, as to sleep or to wait for a file), `others_s` (CPU time of the process's other threads), and `instructions` (retired
    outside of the kernel).

    Args:
        threads: 1: this thread is read; more: all threads of the process.
        collector: counts the garbage collector's seconds.
    """
    counters: dict[str, Reader] = {"collect_s": lambda: collector.seconds, "recompiles": _graphs_compiled}
    if threads == 1:
        counters["others_s"] = lambda: clocks.process_time() - clocks.thread_time()
    if sys.platform != "win32":
        import resource

        who = getattr(resource, "RUSAGE_THREAD", None) if threads == 1 else resource.RUSAGE_SELF
        if who is not None:
            counters["involuntary"] = lambda: float(resource.getrusage(who).ru_nivcsw)
            if threads == 1:
                counters["voluntary"] = lambda: float(resource.getrusage(who).ru_nvcsw)
    waited = _thread_wait() if threads == 1 else _process_wait()
    if waited is not None:
        counters["wait_s"] = waited
    return CounterSampler(counters | (thread_counter() if threads == 1 else {}))


def of_blocks() -> CounterSampler:
    """Sampler of counters of the noise of a block: time stolen by other guests, pressure, load, the processor's frequency.

    Columns: `steal_s` and `pressure_s` over the whole machine; `load` over the last minute; `mhz` of the first processor.
    """
    counters: dict[str, Reader] = {}
    levels: dict[str, Reader] = {}
    ticks = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0
    if ticks and _stolen_ticks() is not None:
        counters["steal_s"] = lambda: (_stolen_ticks() or 0.0) / ticks
    if _pressure_us() is not None:
        counters["pressure_s"] = lambda: (_pressure_us() or 0.0) / 1e6
    if hasattr(os, "getloadavg"):
        levels["load"] = lambda: os.getloadavg()[0]
    frequency = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")
    if frequency.exists():
        levels["mhz"] = lambda: float(frequency.read_text(encoding="ascii")) / 1000
    return CounterSampler(counters, levels)


def _graphs_compiled() -> float:
    """Graphs that dynamo has compiled in this process; 0 while it is not loaded."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    return float(dynamo.counters["stats"]["unique_graphs"]) if dynamo is not None else 0.0


def _thread_wait() -> Reader | None:
    """Reader of the seconds that this thread has waited for a processor, from `schedstat` (run, wait, slices; in ns)."""
    try:
        handle = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
    except OSError:
        return None
    if os.pread(handle, 128, 0).split()[0] == b"0":  # this kernel does not count: every thread has run
        os.close(handle)
        return None
    return lambda: int(os.pread(handle, 128, 0).split()[1]) / 1e9


def _process_wait() -> Reader | None:
    tasks = Path("/proc/self/task")
    if (text_of(tasks / str(os.getpid()) / "schedstat") or "0").split()[0] == "0":
        return None

    def read() -> float:
        waits = (text_of(task / "schedstat") for task in tasks.iterdir())
        return sum(int(wait.split()[1]) for wait in waits if wait) / 1e9

    return read


def _stolen_ticks() -> float | None:
    fields: Sequence[str] = (text_of("/proc/stat") or "").partition("\n")[0].split()
    return float(fields[8]) if len(fields) > 8 else None


def _pressure_us() -> float | None:
    words = (text_of("/proc/pressure/cpu") or "").partition("\n")[0].split()
    return next((float(word[6:]) for word in words if word.startswith("total=")), None)


def thread_counter() -> dict[str, Reader]:
    """The column `instructions` and its reader, for the thread that calls this, outside of the kernel; empty where it is refused.

    Many guests have no such counter, many containers refuse it, and some hypervisors offer one that stands still.
    """
    number = _PERF_EVENT_OPEN.get(platform.machine()) if sys.platform == "linux" else None
    handle = -1 if number is None else _open_counter(number)
    if handle < 0:
        return {}

    def read() -> float:
        count, enabled, running = struct.unpack("3Q", os.read(handle, 24))
        # Where more events are counted than the processor has counters, they take turns.
        return float(round(count * enabled / running)) if running else 0.0

    weakref.finalize(read, os.close, handle)
    return {"instructions": read} if read() > 0 else {}


def _open_counter(number: int) -> int:
    """Open a counter of this thread on any processor: its file descriptor, or -1."""
    both_times, without_kernel_and_hypervisor, close_on_exec, size = 0b11, 0b11 << 5, 8, 64
    attributes = struct.pack("=IIQQQQQ16x", EVENT[0], size, EVENT[1], 0, 0, both_times, without_kernel_and_hypervisor)
    return _system_call(number, attributes, 0, -1, -1, close_on_exec)


def _system_call(*arguments: int | bytes) -> int:
    wide = (ctypes.c_long(each) if isinstance(each, int) else each for each in arguments)
    return int(ctypes.CDLL(None).syscall(*wide))
