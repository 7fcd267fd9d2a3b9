"""Starts child processes, the only way that modbench has: each ends with this process and at its limit, and its log is bounded.

This is the runner's side of the log supervisor (`log_supervisor_process.py`), which works on when the runner dies.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol, TypeVar

from modbench.harness.core.files import new_file
from modbench.harness.execution import log_supervisor_process
from modbench.harness.execution.worker_environment import worker_environment
from modbench.harness.process import parent_death

# Bytes that are kept of the beginning and of the end of a log.
HEAD, TAIL = 2**20, 2**20
# Seconds between SIGTERM and SIGKILL.
GRACE_S = 5.0
# A process that its parent does not end at its limit ends by its own alarm; the log supervisor ends one that switched that off.
ALARM_S, SUPERVISOR_S = 10.0, 20.0


class Process(Protocol):
    """A process that can be ended: one of multiprocessing, or a command."""

    @property
    def pid(self) -> int | None:
        """Its number, which is that of its group too."""

    @property
    def exitcode(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""

    def is_alive(self) -> bool:
        """Whether it runs."""

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, at most so many seconds."""

    def kill(self) -> None:
        """Kill it alone."""


Child = TypeVar("Child", bound=Process)


class LogSupervisor:
    """Starts the log supervisor when it is first needed, and again if it was killed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._folders: list[str] = []

    @contextlib.contextmanager
    def temporary(self, prefix: str) -> Iterator[Path]:
        """A folder for the `with` block, which is removed at its end, and also if this process is killed."""
        with tempfile.TemporaryDirectory(prefix=prefix) as name:
            self._folders.append(name)
            if sys.platform != "win32":
                self._ask("", {"folder": name}, [])
            try:
                yield Path(name)
            finally:
                self._folders.remove(name)

    def start(
        self, name: str, log: Path, limit_s: float, make: Callable[[str, float, Connection | None], Child]
    ) -> Child:
        """Start a process, which ends with this one, and some time after its limit if nothing stops it before.

        Args:
            name: what it is called here, until it is stopped.
            log: a new file that takes what it prints.
            limit_s: seconds after which whoever starts it waits no longer.
            make: starts it, given the mark of its environment (`parent_death.MARK`), the seconds of its alarm, and the pipe
                that it prints to; None: it opens its log. It ties itself to this process, in a session of its own.
        """
        mark = secrets.token_hex(8)
        with contextlib.ExitStack() as opened:
            pipe, out, file = prints(log, opened)
            with parent_death.interrupts_wait():
                process = make(mark, limit_s + ALARM_S, out)
                if pipe is not None:
                    assert process.pid is not None
                    self.watch(
                        name, process.pid, f"{parent_death.MARK}={mark}", limit_s + SUPERVISOR_S, pipe.fileno(), file
                    )
        return process

    def stop(self, name: str, process: Process, *, may_leave_some: bool = False) -> None:
        """Reap a process; end it first if it still runs, with all that it started. Its log is complete then.

        Args:
            name: what it was called when it was started.
            process: the process.
            may_leave_some: whether processes that it started may be left although it ended well.
        """
        kept = sys.platform != "win32"
        reap(process, kept=kept)
        if kept:
            assert process.pid is not None
            self.end(name, process.pid, escaped=may_leave_some or process.exitcode != 0)

    def watch(self, name: str, group: int, mark: str, limit_s: float, pipe: int, log: int) -> None:
        """Hand over a worker.

        Args:
            name: the unit's name.
            group: the worker's process group.
            mark: `NAME=VALUE` in the environment of what it starts.
            limit_s: seconds after which it is killed, if this process has not ended it by then.
            pipe: file descriptor from which its prints are read.
            log: file descriptor of its log.
        """
        asked = {"group": group, "mark": mark, "limit_s": limit_s, "head": HEAD, "tail": TAIL}
        try:
            self._ask(name, asked, [pipe, log])
        except OSError:  # it was killed since
            self._ask(name, asked, [pipe, log])

    def end(self, name: str, group: int, *, escaped: bool) -> None:
        """Kill what is left of a worker, and return when its log is complete.

        Args:
            name: the unit's name.
            group: its process group.
            escaped: whether to look for processes that left the group, which reads all of `/proc`.
        """
        try:
            self._ask(name, {"escaped": escaped}, [])
        except OSError:
            kill_group(group, signal.SIGKILL)

    def _ask(self, name: str, asked: dict[str, Any], files: list[int]) -> None:
        if self._socket is None:
            self._start()
        assert self._socket is not None
        try:
            socket.send_fds(self._socket, [json.dumps({"name": name, **asked}).encode()], files)
            answered = bool(self._socket.recv(1))
        except BaseException:  # an interrupt too: an answer that nobody read would pass for that to the next question
            self._close()
            raise
        if not answered:
            self._close()
            raise ConnectionResetError("the log supervisor was killed")

    def _start(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            # Isolated, without site-packages, and with nothing of this process open: it must not hold a reader's pipe.
            self._process = subprocess.Popen(  # noqa: S603  # our own file
                [sys.executable, "-I", "-S", str(Path(log_supervisor_process.__file__))],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=worker_environment(os.environ),
                start_new_session=True,
            )
        self._at_end = weakref.finalize(self, _close, self._socket, self._process)
        for name in self._folders:
            self._ask("", {"folder": name}, [])

    def _close(self) -> None:
        if self._socket is not None:
            self._at_end()
            self._socket = self._process = None


def _close(connection: socket.socket, process: subprocess.Popen[bytes]) -> None:
    """Let the log supervisor end: it does so when the socket closes."""
    connection.close()
    process.wait()


def prints(log: Path, opened: contextlib.ExitStack) -> tuple[Connection, Connection, int] | tuple[None, None, int]:
    """The ends of the pipe that a worker prints to, and its log; on Windows there is no supervisor, and logs are not cut."""
    if sys.platform == "win32":
        return None, None, -1
    file = new_file(log)
    opened.callback(os.close, file)
    reading, writing = multiprocessing.Pipe(duplex=False)
    return opened.enter_context(reading), opened.enter_context(writing), file


def reap(process: Process, *, kept: bool) -> None:
    """Wait for a worker; end it first if it is still running, and its group if the log supervisor watches it."""
    assert process.pid is not None
    for number in (signal.SIGTERM, signal.SIGKILL) if kept else ():
        if process.is_alive():
            if not kill_group(process.pid, number):  # it has no group yet
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, number)
            process.join(GRACE_S)
    if process.is_alive():
        process.kill()
    process.join()


def kill_group(group: int, number: signal.Signals) -> bool:
    """Send a signal to a process group; False if it has no processes.

    A worker's group keeps its number while one of its processes lives, so the number cannot mean another's.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
        return True
    return False
