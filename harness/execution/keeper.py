"""This process's side of the keeper (`keeper_process.py`), which writes logs and ends workers even when this process dies."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

from modbench.harness.execution import keeper_process
from modbench.harness.execution.passed_on import passed_on

# Bytes that are kept of the beginning and of the end of a log.
HEAD, TAIL = 2**20, 2**20


class Keeper:
    """Starts the keeper when it is first needed, and again if it was killed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

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
                [sys.executable, "-I", "-S", str(Path(keeper_process.__file__))],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=passed_on(os.environ),
                start_new_session=True,
            )
        self._at_end = weakref.finalize(self, _close, self._socket, self._process)

    def _close(self) -> None:
        if self._socket is not None:
            self._at_end()
            self._socket = self._process = None


def _close(connection: socket.socket, process: subprocess.Popen[bytes]) -> None:
    """Let the keeper end: it does so when the socket closes."""
    connection.close()
    process.wait()


def kill_group(group: int, number: signal.Signals) -> bool:
    """Send a signal to a process group; False if it has no processes.

    A worker's group keeps its number while one of its processes lives, so the number cannot mean another's.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
        return True
    return False
