"""Shared by the scripts that measure under load: load processes, commands in process sessions of their own, fresh processes.

Linux shares a processor first between process sessions, then inside them (its autogroup). A tool that starts its workers in
sessions of their own, as modbench does, would get more than others beside load that has one session, and the same where every
load process has its own. So every load process and every tool compared is started with `start_new_session`.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from modbench.harness.call.timing.interleave import Call, Clock, Effort, Session
from modbench.harness.machine import counter_sampler
from modbench.harness.stats.paired import ProcessSamples

Result = TypeVar("Result")

# What a process of planted work needs; one that is not found is loaded by each child.
PRELOAD = ("torch", "load", "planted_block", "modbench.harness.execution.gc_freeze")
# Ends with the process that started it, whatever ends that.
_BUSY = """
import os, random, sys, time
parent, mean, draw = int(sys.argv[1]), float(sys.argv[2]), random.Random(int(sys.argv[3]))
while os.getppid() == parent:
    until = time.monotonic() + (draw.expovariate(1 / mean) if mean else 1.0)
    while time.monotonic() < until:
        pass
    if mean:
        time.sleep(draw.expovariate(1 / mean))
"""
_PR_SET_CHILD_SUBREAPER = 36


@contextlib.contextmanager
def load(processes: int, mean_s: float = 0.0, *, own_sessions: bool = True) -> Iterator[list[int]]:
    """Run load processes in the background; gives their process ids.

    Args:
        processes: how many.
        mean_s: each computes and sleeps in turn, for times drawn from an exponential distribution with this mean, so that the
            machine does not stay in one state for long; 0: each spins without a pause.
        own_sessions: whether each is in a process session of its own; else all are in that of this process.
    """
    started = [
        subprocess.Popen(  # our own script
            [sys.executable, "-S", "-c", _BUSY, str(os.getpid()), str(mean_s), str(seed)],
            start_new_session=own_sessions,
        )
        for seed in range(processes)
    ]
    try:
        yield [process.pid for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Ran:
    """What became of a command.

    Attributes:
        code: its exit code.
        out: its standard output.
        err: its standard error.
        wall_s: how long it ran.
        cpu_s: CPU time of its process and of all that this one started.
    """

    code: int
    out: str
    err: str
    wall_s: float
    cpu_s: float


def run(command: Sequence[str], environment: Mapping[str, str] | None = None, *, own_session: bool = True) -> Ran:
    """Run a command to its end, in a process session of its own, and end what it leaves behind.

    Args:
        command: the program and its arguments.
        environment: its environment variables; None: those of this process.
        own_session: False: it stays in the process session of this process, in a process group of its own.
    """
    group = None if own_session else 0
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err, _adopting():
        start = time.monotonic()
        process = subprocess.Popen(
            command, stdout=out, stderr=err, env=environment, start_new_session=own_session, process_group=group
        )
        try:
            wall_s, cpu_s = _waited(process, start)
        finally:
            _end(process.pid)
        out.seek(0)
        err.seek(0)
        return Ran(process.returncode, out.read(), err.read(), wall_s, cpu_s)


@contextlib.contextmanager
def _adopting() -> Iterator[None]:
    """Become the parent of processes that outlive their own, such as a fork server: only a parent learns of their CPU time."""
    prctl = getattr(ctypes.CDLL(None), "prctl", lambda *_: None)
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _waited(process: subprocess.Popen[bytes], start: float) -> tuple[float, float]:
    """Wait for a process and then for all of its group; returns its wall seconds, and the CPU seconds of all."""
    wall_s = cpu_s = 0.0
    with contextlib.suppress(ChildProcessError):  # none is left
        while True:
            pid, status, used = os.wait4(-process.pid, 0)
            cpu_s += used.ru_utime + used.ru_stime
            if pid == process.pid:
                wall_s = time.monotonic() - start
                process.returncode = os.waitstatus_to_exitcode(status)
                _end(process.pid)
    return wall_s, cpu_s


def _end(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def in_a_fresh_process(function: Callable[..., Result], *arguments: Any, preload: Sequence[str] = PRELOAD) -> Result:
    """Call a function in a child of a fork server that has these modules loaded, and return its result."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*preload])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def process(less: Call, more: Call, rounds: int, warm_up_s: float) -> ProcessSamples:
    """What one process measures of two calls, interleaved by the product's session and watched by its witnesses.

    Args:
        less: the baseline.
        more: what is compared with it.
        rounds: rounds of the process.
        warm_up_s: seconds that the warm-up takes at least.
    """
    collector = counter_sampler.Collector()
    session = Session(
        {"less": less, "more": more},
        "less",
        rng=random.Random(),
        clock=Clock(),
        on_error=lambda _variant, _error: None,
        survivable=(),
        of_samples=counter_sampler.of_samples(1, collector),
        of_blocks=counter_sampler.of_blocks(),
    )
    found = session.measure(Effort(rounds, warm_up_calls=3, warm_up_s=warm_up_s))
    collector.close()
    return ProcessSamples(found.samples["more"], None, found.samples["less"], found.blocks)
