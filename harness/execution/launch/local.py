"""Starts local processes: children of a fork server with torch preloaded for drafts, a cold process per unit otherwise.

Plain fork is never used: a child of a process that ran OpenMP hangs. The parent blocks on the children's sentinels; a spinning
parent would take the core that is being measured.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from modbench.harness.core import catalogue
from modbench.harness.core.case import Device, UnitOfWork
from modbench.harness.core.early_end import ASK
from modbench.harness.core.errors import UsageError
from modbench.harness.execution.worker import work
from modbench.harness.results.run_folder import RunFolder

# What a unit would otherwise import for itself; torch's optimizers load torch._dynamo (3 s) when first made.
PRELOAD = [
    "torch",
    "torch._dynamo",
    "torch.utils.flop_counter",
    "numpy",
    "scipy.stats",  # the rank correlations of routers
    "modbench.harness.subject.subject",
    "modbench.harness.passes.time",
]


@contextlib.contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a child that is started in the `with` block."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@dataclass
class LocalHandle:
    """A unit that runs as a local process.

    Attributes:
        unit: the unit.
        process: its process.
        record: path of its record.
        deadline: when it counts as hanging, on the monotonic clock, in s.
    """

    unit: UnitOfWork
    process: BaseProcess
    record: Path
    deadline: float

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self.process.is_alive()

    @property
    def exitcode(self) -> int | None:
        """Exit code of the process, None while it runs."""
        return self.process.exitcode

    @property
    def timed_out(self) -> bool:
        """Whether the unit has passed its deadline."""
        return time.monotonic() >= self.deadline


class LocalLauncher:
    """Starts units as local processes.

    Args:
        cold: start a fresh interpreter for every unit instead of a child of the fork server.
        threads: CPU threads of a worker, set before its libraries load.
        device: where the units run.
        options: none are known.
    """

    apart = False

    def __init__(self, *, cold: bool, threads: int, device: Device = "cpu", options: Sequence[str] = ()) -> None:
        if options:
            raise UsageError(f"the launcher 'local' takes no options; got {' '.join(options)!r}. Leave them out.")
        self.device = device
        # Spinning OpenMP threads beside one busy process made a step 16 times slower.
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ["OMP_NUM_THREADS"] = str(threads)
        self._context: BaseContext = multiprocessing.get_context("spawn" if cold else "forkserver")
        if not cold:
            self._context.set_forkserver_preload(PRELOAD)

    def at_once(self, usual: int) -> int:
        """How many units may run at once: what this machine's cores allow."""
        return usual

    def start(self, unit: UnitOfWork, folder: RunFolder, timeout_s: float) -> LocalHandle:
        """Start a unit, which writes its record when it is done. After `timeout_s` it counts as hanging."""
        arguments = (unit.model_dump_json(), str(folder.path.resolve()))
        made_in = catalogue.passes()[unit.made_in]
        context = multiprocessing.get_context("spawn") if made_in.cold else self._context
        process: BaseProcess = context.Process(target=work, args=arguments, daemon=True)  # type: ignore[attr-defined]  # typeshed's BaseContext lacks it
        with _environment(made_in.environment):
            process.start()
        return LocalHandle(unit, process, folder.record(unit), time.monotonic() + timeout_s)

    def wait(self, handles: list[LocalHandle], timeout_s: float) -> list[LocalHandle]:
        """Block until a unit ends, hangs or the time is up; return the units that ended or hang."""
        until = min(timeout_s, *(max(0.0, handle.deadline - time.monotonic()) for handle in handles))
        multiprocessing.connection.wait([handle.process.sentinel for handle in handles], timeout=until)
        return [handle for handle in handles if not handle.process.is_alive() or handle.timed_out]

    def ask(self, handle: LocalHandle) -> None:
        """Ask a training unit to save a checkpoint and end."""
        if ASK is not None and handle.process.pid is not None and handle.process.is_alive():
            os.kill(handle.process.pid, ASK)

    def leave(self, handles: list[LocalHandle]) -> str:
        """Local processes end with this one."""
        raise NotImplementedError

    def end(self, handle: LocalHandle) -> None:
        """Reap a unit; kill it if it is still running."""
        if handle.process.is_alive():
            handle.process.terminate()
            handle.process.join(5)
            if handle.process.is_alive():
                handle.process.kill()
        handle.process.join()


LAUNCHER = LocalLauncher
