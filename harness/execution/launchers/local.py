"""Starts jobs as local processes: children of a fork server with torch preloaded for drafts, a cold process per job otherwise.

How a process is held and ended is in `process/child.py`. Plain fork is never used: a child of a process that ran OpenMP hangs.
The parent blocks on the children's sentinels; a spinning parent would take the core that is being measured.

The fork server may be killed like any process, or not come up: what it started is ended, and started again. Python starts a new
server by itself, but reports the jobs of the old one as ended while they still run.

No process runs the user's script again. multiprocessing lets every process that it starts import the parent's main module, in
case that what it shall do is defined there. Workers need nothing of it: a user's models are files or modules of their own. A
script that measures at its top level would measure again in each worker, and fail there.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import multiprocessing.connection
import multiprocessing.forkserver
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType

from modbench.harness.core.errors import ModbenchError, UsageError
from modbench.harness.domain.case import Device, Job
from modbench.harness.execution.worker import Ties, work
from modbench.harness.execution.worker_environment import worker_environment
from modbench.harness.machine import cuda_driver
from modbench.harness.machine.environment import usable_cores
from modbench.harness.machine.process import child
from modbench.harness.machine.process.child import Child
from modbench.harness.machine.process.graceful_stop import STOP_SIGNAL
from modbench.harness.registry import plugin_manifests
from modbench.harness.results.run_folder import RunFolder

# A job that ends its fork server every time is not started for ever.
TRIES = 3
# What Python reports of a process whose fork server is gone.
NOBODY_KNOWS = 255
# How long the end of a server may take after its sockets were closed, and that of a job after it was killed.
GONE_S, ORPHAN_S = 2.0, 5.0
# A word that was meant for `--set`, which takes one.
SETTING = re.compile(r"[A-Za-z_][\w.]*=")
# What a job would otherwise import for itself; torch's optimizers load torch._dynamo (3 s) when first made.
PRELOAD = [
    "torch",
    "torch._dynamo",
    "torch.utils.flop_counter",
    "numpy",
    "scipy.special",  # the rank correlations of routers
    "modbench.harness.call.subject.subject",
    "modbench.harness.measure.passes.time",
    "modbench.harness.execution.gc_freeze",  # last
]


@contextlib.contextmanager
def without_main() -> Iterator[None]:
    """Let a process that multiprocessing starts in the `with` block see an empty main module in place of the user's."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")  # without a file or a name by which it could be imported
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _number() -> int:
    """Process id of the fork server."""
    return multiprocessing.forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined, no-any-return]  # noqa: SLF001  # no public way to it


def runs(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def gone(pid: int, limit_s: float) -> bool:
    """Wait until a process has ended, at most so many seconds; whether it has."""
    until = time.monotonic() + limit_s
    while runs(pid):
        if time.monotonic() > until:
            return False
        time.sleep(0.001)
    return True


def started(make: Callable[[int], BaseProcess], *, cold: bool) -> tuple[BaseProcess, int]:
    """Make a process, given the process id of its parent, and start it; once more if the fork server ended meanwhile.

    The server may end after it started the process and before it said so: the process then ends itself.

    Returns:
        The process, and its parent: this process if it is cold, else the fork server.

    Raises:
        ModbenchError: if the server ends every time, as where it gets too little memory.
    """
    for _ in range(TRIES):
        with without_main():
            if not cold:
                multiprocessing.forkserver.ensure_running()
            parent = os.getpid() if cold else _number()
            process = make(parent)
            try:
                process.start()
            except (EOFError, ConnectionError):  # the server's end of the socket or the pipe was closed
                if cold:
                    raise
                gone(parent, GONE_S)
            else:
                return process, parent
    raise ModbenchError(
        f"the process that starts jobs ended {TRIES} times before it started one. It may be short of memory or of open files."
    )


@contextlib.contextmanager
def environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Let a child that is started in the `with` block see what workers may see, and the changes."""
    before = dict(os.environ)
    # Python puts the current folder first on the path of what it starts with -c: it may be a stranger's run folder.
    wanted = worker_environment(before) | {"PYTHONSAFEPATH": "1"} | dict(changes)
    _become(wanted)
    try:
        yield
    finally:
        _become(before)


def variables(threads: int) -> dict[str, str]:
    """Environment variables that a worker's libraries read when they load."""
    # Spinning OpenMP threads beside one busy process made a step 16 times slower.
    return {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": str(threads)}


def _become(wanted: Mapping[str, str]) -> None:
    for name in os.environ.keys() - wanted.keys():
        del os.environ[name]
    os.environ.update({name: value for name, value in wanted.items() if os.environ.get(name) != value})


@dataclass
class LocalHandle:
    """A job that runs as a local process.

    Attributes:
        job: the job.
        child: its process, as it is ended.
        process: the same, as it is waited for.
        parent: process id of who started it: this process, or the fork server.
        record: path of its record.
        deadline: when it counts as hanging, on the monotonic clock, in s.
        again: starts the job again.
        tries: how often that may still be done.
    """

    job: Job
    child: Child
    process: BaseProcess
    parent: int
    record: Path
    deadline: float
    again: Callable[[], LocalHandle]
    tries: int = TRIES - 1

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self.process.is_alive()

    @property
    def exitcode(self) -> int | None:
        """Exit code of the process, None while it runs."""
        return self.process.exitcode

    @property
    def died(self) -> None:
        """Its exit code says how it ended."""

    @property
    def timed_out(self) -> bool:
        """Whether the job has passed its deadline."""
        return time.monotonic() >= self.deadline

    def revive(self) -> bool:
        """Start the job again if it ended only because the fork server was killed; returns whether it runs now."""
        if (
            self.exitcode != NOBODY_KNOWS
            or self.parent == os.getpid()
            or not self.tries
            or not gone(self.parent, GONE_S)
        ):
            return False
        self.child.end()
        gone(self.child.pid, ORPHAN_S)  # until then it may write its record
        if self.record.exists():
            return False
        fresh = self.again()
        self.child, self.process, self.parent, self.deadline = fresh.child, fresh.process, fresh.parent, fresh.deadline
        self.tries -= 1
        return True


class LocalLauncher:
    """Starts jobs as local processes.

    Args:
        cold: start a fresh interpreter for every job instead of a child of the fork server.
        threads: CPU threads of a worker, set before its libraries load.
        device: where the jobs run.
        options: none are known.
    """

    is_remote = False

    def __init__(self, *, cold: bool, threads: int, device: Device = "cpu", options: Sequence[str] = ()) -> None:
        if options:
            settings = [f"--set {word}" for word in options if SETTING.match(word)]
            hint = f"Did you mean {' '.join(settings)}?" if settings else "Leave them out."
            raise UsageError(f"the launcher 'local' takes no options; got {' '.join(options)!r}. {hint}")
        self.device, self.threads = device, threads
        # The GPU of every job that runs, and the last one of every series: its processes then share a card where they can.
        self._pinned: dict[str, str] = {}
        self._last: dict[str, str] = {}
        self._variables = variables(threads)
        self._cold = cold
        if not cold:
            multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOAD)

    def refuse(self, jobs: Sequence[Job]) -> None:
        """Refuse nothing: any job can be started here."""

    def at_once(self, usual: int) -> int:
        """How many jobs may run at once: what this machine's cores allow; on GPUs one each, timed ones too.

        A job that uses a GPU keeps two cores busy: on one of them autograd starts the backward pass.
        """
        if self.device != "cuda":
            return usual
        return max(1, min(len(self._gpus), usable_cores() // max(2, self.threads)))

    @functools.cached_property
    def _gpus(self) -> tuple[str, ...]:
        return cuda_driver.gpus_in_use() if self.device == "cuda" else ()

    def _pin(self, job: Job) -> dict[str, str]:
        """Variables that show a job one GPU that no other job uses; none where CUDA shows a single one."""
        if len(self._gpus) < 2 or job.ranks > 1:
            return {}
        free = [gpu for gpu in self._gpus if gpu not in self._pinned.values()]
        last = self._last.get(job.series, "")
        gpu = last if last in free else free[0]
        self._pinned[job.name] = self._last[job.series] = gpu
        return {"CUDA_VISIBLE_DEVICES": gpu}

    def start(self, job: Job, folder: RunFolder, timeout_s: float) -> LocalHandle:
        """Start a job, which writes its record when it is done. After `timeout_s` it counts as hanging."""
        cold = self._cold or job.facts.cold
        context = multiprocessing.get_context("spawn" if cold else "forkserver")
        work_on = (job.model_dump_json(), str(folder.path.resolve()))
        process: BaseProcess
        parent: int

        def make(prints: Connection) -> BaseProcess:
            nonlocal process, parent

            def tied(to: int) -> BaseProcess:
                ties = Ties(to, prints, plugin_manifests.included())
                return context.Process(target=work, args=(*work_on, ties), daemon=True)  # type: ignore[attr-defined, no-any-return]  # typeshed's BaseContext lacks it

            process, parent = started(tied, cold=cold)
            return process

        with environment({**self._variables, **dict(job.facts.environment), **self._pin(job)}):
            held = child.start(make, folder.log(job), timeout_s)
        again, deadline = partial(self.start, job, folder, timeout_s), time.monotonic() + timeout_s
        return LocalHandle(job, held, process, parent, folder.record(job), deadline, again)

    def wait(self, handles: list[LocalHandle], timeout_s: float) -> list[LocalHandle]:
        """Block until a job ends, hangs or the time is up; return the jobs that ended or hang."""
        until = min([timeout_s, *(max(0.0, handle.deadline - time.monotonic()) for handle in handles)])
        multiprocessing.connection.wait([handle.process.sentinel for handle in handles], timeout=until)
        return [handle for handle in handles if handle.timed_out or not (handle.running or handle.revive())]

    def ask(self, handle: LocalHandle) -> None:
        """Ask a training job to save a checkpoint and end."""
        if STOP_SIGNAL is not None and handle.running:
            with contextlib.suppress(ProcessLookupError):  # it ended just now
                os.kill(handle.child.pid, STOP_SIGNAL)

    def leave(self, handles: list[LocalHandle]) -> str:
        """End them: local processes cannot go on without this one."""
        for handle in handles:
            self.end(handle)
        return ""

    def end(self, handle: LocalHandle) -> None:
        """Reap a job; kill it if it is still running, with its process group. Its log is complete then."""
        self._pinned.pop(handle.job.name, None)
        handle.child.end()


LAUNCHER = LocalLauncher
