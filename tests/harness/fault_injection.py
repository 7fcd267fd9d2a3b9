"""A disk that refuses, and a clock that was set back, inside a process: what the operating system would raise, raised in Python.

The fault is on while a switch file exists, in every process that installed it: these faults work everywhere and hit at a
chosen moment.
"""

from __future__ import annotations

import builtins
import contextlib
import datetime as dt
import errno
import io
import os
import pwd
import time
from collections.abc import Callable, Iterator
from typing import Any

CODES = {
    "disk full": errno.ENOSPC,
    "quota used up": errno.EDQUOT,
    "no inodes": errno.ENOSPC,
    "read-only": errno.EROFS,
    "input/output error": errno.EIO,
}
# What refuses to make or change a file, and does not refuse content; the functions of `os` that it refuses.
NEVER_WRITES = {
    "no inodes": ("mkdir", "link"),
    "read-only": ("mkdir", "unlink", "remove", "rmdir", "replace", "rename", "link", "chmod", "truncate"),
}
BACK_S = 90_000.0


def install(fault: str, folder: str, switch: str) -> None:
    """Let this process and its forks meet a fault below a folder while the switch exists."""
    if fault in {"clock", "no home"}:
        _clock(switch) if fault == "clock" else _no_home()
        return
    exists, inside = os.path.exists, os.path.realpath(folder)

    def hit(path: Any) -> bool:
        """Whether a path, or the file behind a descriptor, meets the fault now."""
        if not exists(switch):
            return False
        try:
            path = os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else path  # noqa: PTH115  # not to follow it
        except OSError:
            return False
        return str(os.path.realpath(path)).startswith(inside)

    def refuse(path: Any) -> OSError:
        return OSError(CODES[fault], os.strerror(CODES[fault]), os.fspath(path))

    _opening(fault, hit, refuse)
    for name in NEVER_WRITES.get(fault, ()):
        _refusing(name, hit, refuse)


def _refusing(name: str, hit: Callable[[Any], bool], refuse: Callable[[Any], OSError]) -> None:
    real = getattr(os, name)

    def call(path: Any, *args: Any, **named: Any) -> Any:
        if hit(path):
            raise refuse(path)
        return real(path, *args, **named)

    setattr(os, name, call)


def _opening(  # one closure for each way to open and write
    fault: str, hit: Callable[[Any], bool], refuse: Callable[[Any], OSError]
) -> None:
    """Refuse files that are opened to be written, or (a full disk) let them be opened and refuse their content."""
    real_open, real_os_open, real_write = io.open, os.open, os.write

    class Full(io.FileIO):
        def write(self, data: Any) -> int:
            if hit(self.name):
                raise OSError(CODES[fault], os.strerror(CODES[fault]))
            return super().write(data)

    def refused(path: Any) -> bool:
        return not isinstance(path, int) and hit(path) and (fault == "read-only" or not os.path.lexists(path))

    def opened(file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, *args: Any, **named: Any) -> Any:
        meets = bool(set(mode) & set("wax+")) and hit(file)
        if meets and fault in NEVER_WRITES and refused(file):
            raise refuse(file)
        if not meets or fault in NEVER_WRITES:
            return real_open(file, mode, buffering, encoding, *args, **named)
        binary = io.BufferedWriter(Full(file, mode.replace("b", "").replace("t", "")))
        return binary if "b" in mode else io.TextIOWrapper(binary, encoding=encoding or "utf-8")

    def os_opened(path: Any, flags: int, mode: int = 0o777, **named: Any) -> int:
        if fault in NEVER_WRITES and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and refused(path):
            raise refuse(path)
        return real_os_open(path, flags, mode, **named)

    def written(handle: int, data: Any) -> int:
        if fault not in NEVER_WRITES and hit(handle):
            raise OSError(CODES[fault], os.strerror(CODES[fault]))
        return real_write(handle, data)

    builtins.open = io.open = opened
    os.open, os.write = os_opened, written


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the system refuse (EFBIG) what this process writes into a file beyond a size: real, whatever library writes."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _no_home() -> None:
    """No HOME, and a user id without an entry in the password file."""
    for name in ("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "MODBENCH_STATE", "MODBENCH_CACHE"):
        os.environ.pop(name, None)

    def unknown(uid: object) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    pwd.getpwuid = pwd.getpwnam = unknown  # type: ignore[assignment]


def _clock(switch: str) -> None:
    """A wall clock that stands a day and an hour behind while the switch exists."""
    exists, real_time, real_ns, real = os.path.exists, time.time, time.time_ns, dt.datetime

    class Behind(real):  # type: ignore[misc, valid-type]  # datetime may be subclassed
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return real.now(tz) - dt.timedelta(seconds=BACK_S * exists(switch))

    time.time = lambda: real_time() - BACK_S * exists(switch)
    time.time_ns = lambda: real_ns() - int(BACK_S * 1e9) * exists(switch)
    dt.datetime = Behind  # type: ignore[misc]  # modules that read `dt.datetime` see it
