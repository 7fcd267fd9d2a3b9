"""Starts the command line in processes of its own, as forks of this one, which has loaded everything and computed nothing.

They start in milliseconds, and so does their fork server. All else is real: processes, signals, files, exit codes.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import multiprocessing.util
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modbench import cli
from modbench.harness.execution import runner  # noqa: F401  # loaded before the first fork
from modbench.harness.execution.launchers import local
from modbench.reports.html_report import render  # noqa: F401  # as runner

PATIENCE_S = 1500.0  # against hanging, on a busy machine too

# What a fork server loads before it starts units: seconds, once here instead of once per command. Stub units make no optimizer.
local.PRELOAD = [
    name for name in local.PRELOAD if name not in {"torch._dynamo", "modbench.harness.measure.passes.time"}
]
for _name in local.PRELOAD:
    importlib.import_module(_name)


@dataclass
class Process:
    """A command that was started.

    Attributes:
        pid: its process id, and that of its process group.
        said: where its standard error went.
        code: its exit code, negative for a signal; None while it runs.
    """

    pid: int
    said: Path
    code: int | None = None

    @property
    def alive(self) -> bool:
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code is None

    def wait(self) -> int:
        until = time.monotonic() + PATIENCE_S
        while self.alive:
            if time.monotonic() > until:
                kill(self.pid, group=True)
                raise AssertionError(f"a command did not end within {PATIENCE_S:.0f} s: {self.said.read_text()}")
            time.sleep(0.002)
        assert self.code is not None
        return self.code


def kill(pid: int, number: int = signal.SIGKILL, *, group: bool = False) -> None:
    with contextlib.suppress(ProcessLookupError):
        (os.killpg if group else os.kill)(pid, number)


def start(arguments: Iterable[str], beside: Path, number: int, before: Callable[[], None]) -> Process:
    """Start a command in a folder, in a process group of its own, as a shell does."""
    said = beside / f"stderr-{number}"
    said.touch()  # a process that is killed at once leaves none
    pid = os.fork()
    if pid:
        return Process(pid, said)
    code = 70
    try:
        os.setsid()
        os.chdir(beside)
        for stream, file in ((0, Path(os.devnull)), (1, beside / f"stdout-{number}"), (2, said)):
            handle = os.open(file, os.O_RDONLY if stream == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(handle, stream)
            os.close(handle)
        sys.argv = ["modbench", *arguments]
        multiprocessing.util.spawnv_passfds = _forked(multiprocessing.util.spawnv_passfds)
        before()
        code = _ended(cli.main)
    except BaseException:  # noqa: BLE001  # a fork must not go on as the driver
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()
        for each in (sys.stdout, sys.stderr):
            with contextlib.suppress(BaseException):
                each.flush()
        os._exit(code)


def _ended(command: Callable[[], None]) -> int:
    try:
        command()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    return 0


def _forked(real: Callable[..., int]) -> Callable[..., int]:
    """Start a fork server as a fork of this process, with the descriptors that a new interpreter would have."""

    def spawned(path: Any, args: list[Any], descriptors: Iterable[int]) -> int:
        if "multiprocessing.forkserver" not in str(args[-1]):
            return real(path, args, descriptors)
        # A new interpreter has no handlers from its first moment on, and starting one runs no Python: signals wait for its end.
        numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
        handlers = {number: known for number in numbers if callable(known := signal.getsignal(number))}
        came: list[int] = []
        for number in handlers:
            signal.signal(number, lambda number, _frame: came.append(number))
        pid = os.fork()
        if pid:
            for number, known in handlers.items():
                signal.signal(number, known)
            for other in came:
                signal.raise_signal(other)
            return pid
        kept = {0, 1, 2, *descriptors}
        for descriptor in range(3, 256):
            if descriptor not in kept:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        for number in handlers:  # handlers of Python do not outlive an exec
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        code = 1
        try:
            exec(args[-1], {"__name__": "forkserver"})  # noqa: S102  # the text that an interpreter would run
            code = 0
        except SystemExit:
            code = 0
        finally:
            os._exit(code)

    return spawned


def runs(pid: int) -> bool:
    """Whether a process lives; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid: int) -> list[int]:
    """Processes that a process started and has not reaped."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def command_of(pid: int) -> str:
    """Its command line."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return ""
