"""The runner's side of the keeper (`log_supervisor_process.py`), which writes logs and ends workers even when the runner dies."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from modbench.harness.core.safe_paths import new_file
from modbench.harness.execution import log_supervisor_process
from modbench.harness.execution.worker_environment import worker_environment

# Bytes that are kept of the beginning and of the end of a log.
HEAD, TAIL = 2**20, 2**20
# Seconds between SIGTERM and SIGKILL.
GRACE_S = 5.0


class Process(Protocol):
    """A process that can be ended: one of multiprocessing, or a command."""

    @property
    def pid(self) -> int | None:
        """Its number, which is that of its group too."""

    def is_alive(self) -> bool:
        """Whether it runs."""

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, at most so many seconds."""

    def kill(self) -> None:
        """Kill it alone."""


class Keeper:
    """Starts the keeper when it is first needed, and again if it was killed."""

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
            raise ConnectionResetError("the keeper was killed")

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
    """Let the keeper end: it does so when the socket closes."""
    connection.close()
    process.wait()


def prints(log: Path, opened: contextlib.ExitStack) -> tuple[Connection, Connection, int] | tuple[None, None, int]:
    """The ends of the pipe that a worker prints to, and its log; on Windows there is no keeper, and logs are not cut."""
    if sys.platform == "win32":
        return None, None, -1
    file = new_file(log)
    opened.callback(os.close, file)
    reading, writing = multiprocessing.Pipe(duplex=False)
    return opened.enter_context(reading), opened.enter_context(writing), file


def reap(process: Process, *, kept: bool) -> None:
    """Wait for a worker; end it first if it is still running, and its group if the keeper watches it."""
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
