"""The fork server may be killed like any process, or not come up: what it started is ended, and started again.

Python starts a new server by itself, but reports the units of the old one as ended while they still run.

No process runs the user's script again. multiprocessing lets every process that it starts import the parent's main module, in
case that what it shall do is defined there. Workers need nothing of it: a user's models are files or modules of their own. A
script that measures at its top level would measure again in each worker, and fail there.
"""

from __future__ import annotations

import contextlib
import multiprocessing.forkserver
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType

from modbench.harness.core.errors import ModbenchError

# A unit that ends its fork server every time is not started for ever.
TRIES = 3
# What Python reports of a process whose fork server is gone.
NOBODY_KNOWS = 255
# How long the end of a server may take after its sockets were closed.
GONE_S = 2.0


@contextlib.contextmanager
def without_main() -> Iterator[None]:
    """Let a process that multiprocessing starts in the `with` block see an empty main module in place of the user's."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")  # without a file or a name by which it could be imported
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _number() -> int | None:
    """Process id of the fork server; None if none was started."""
    return multiprocessing.forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined, no-any-return]  # noqa: SLF001  # no public way to it


def gone(server: int | None) -> bool:
    """Whether a fork server has ended, asked when its sockets and pipes are closed: the system closes them a moment before."""
    until = time.monotonic() + GONE_S
    while server is not None and not _ended(server):
        if time.monotonic() > until:
            return False
        time.sleep(0.001)
    return server is not None


def _ended(server: int) -> bool:
    """Whether the fork server has ended; Python is left to notice it by itself."""
    if not hasattr(os, "waitid"):
        return not _lives(server)
    try:
        return os.waitid(os.P_PID, server, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # it was noticed, and another was started
        return True


def started(make: Callable[[int | None], BaseProcess], *, cold: bool) -> tuple[BaseProcess, int | None]:
    """Make a process, given the fork server's id, and start it; once more if the server ended meanwhile. Returns both.

    The server may end after it started the process and before it said so: the process must then end itself.

    Raises:
        ModbenchError: if it ends every time, as where it gets too little memory.
    """
    if cold:
        process = make(None)
        with without_main():
            process.start()
        return process, None
    for _ in range(TRIES):
        with without_main():
            multiprocessing.forkserver.ensure_running()
        server = _number()
        process = make(server)
        try:
            with without_main():
                process.start()
        except (EOFError, ConnectionError):  # the server's end of the socket or the pipe was closed
            gone(server)
            continue
        return process, server
    raise ModbenchError(
        f"the process that starts units ended {TRIES} times before it started one. It may be short of memory or of open files."
    )


def end_orphan(pid: int | None) -> None:
    """End a unit that outlived its fork server, and wait until it can write nothing any more."""
    until = time.monotonic() + 5.0
    while pid is not None and _lives(pid) and time.monotonic() < until:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)


def _lives(pid: int) -> bool:
    """Whether a process that is no child of this one runs; one that only waits to be reaped does not."""
    if sys.platform == "linux":
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
        except OSError:
            return False
        return state.split()[0] not in {"Z", "X"}
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
