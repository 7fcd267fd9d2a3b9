"""One runner per run folder: it keeps `lock.json` locked, and the kernel frees that when the runner is gone, however it went.

The file also says who holds it, for messages. That the runner lives is not read there: the lock shows it, also from another
machine where the file system has locks that all machines share, as NFS has. On one that has none, the file itself is the lock:
it stays when its runner is killed, and only `--take-over` takes it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modbench.harness.core.atomic_files import now
from modbench.harness.core.errors import IncompleteError, ModbenchError, UsageError
from modbench.harness.core.immutable import Frozen

if sys.platform != "win32":
    import fcntl

NAME = "lock.json"
# What a file system without locks says.
NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})
# A lock that is held is tried again so often: for a moment `watch` holds one, or who takes or gives back the folder.
PAUSE_S, TRIES = 0.05, 6

State = Literal["alive", "dead", "unknown"]


class Holder(Frozen):
    """The runner that holds a folder, as it wrote itself down.

    Attributes:
        host: name of its host.
        pid: its process.
        token: a random word; two runners never have the same.
        since: when it took the folder, UTC, ISO 8601.
    """

    host: str = "?"
    pid: int = 0
    token: str = ""
    since: str = "?"

    @property
    def words(self) -> str:
        """The holder in words."""
        return f"process {self.pid} on {self.host}, since {self.since}"


@dataclass(frozen=True)
class Found:
    """A lock as found.

    Attributes:
        holder: who holds the folder, or held it last.
        state: whether it is alive; `unknown` on a file system without locks.
    """

    holder: Holder
    state: State

    @property
    def words(self) -> str:
        """The holder, and whether it lives, in words."""
        return f"{self.holder.words}: {self.state}"


class Lock:
    """A held folder. Use `hold`."""

    def __init__(self, file: Path, holder: Holder, number: int) -> None:
        self.file, self.holder, self._number = file, holder, number

    def check(self) -> None:
        """Check that the folder is still held.

        Raises:
            IncompleteError: if another runner took it.
            ModbenchError: if the folder is gone.
        """
        if self.mine:
            return
        folder, found = self.file.parent, _read(self.file)
        if not (folder / "run.json").exists():  # or another folder has its name
            raise ModbenchError(
                f"{str(folder)!r} is gone: it was moved or removed while jobs ran. Put it back to go on."
            )
        what = f"{self.file} was removed" if found is None else f"{str(folder)!r} was taken over by {found.words}"
        raise IncompleteError(f"{what}. This runner stops; what it finished is kept.")

    @property
    def mine(self) -> bool:
        """Whether the folder is still held."""
        with contextlib.suppress(OSError, UsageError):
            found = _read(self.file)
            return found is not None and found.token == self.holder.token
        return False

    def release(self) -> None:
        """Give the folder back; the file is removed, unless another runner has it."""
        try:
            if self.mine:
                self.file.unlink(missing_ok=True)
        finally:
            os.close(self._number)


@contextlib.contextmanager
def hold(folder: Path, *, take_over: bool = False) -> Iterator[Lock]:
    """Hold a folder in the `with` block.

    Args:
        folder: the run folder.
        take_over: take it from a runner on another host, or on a file system without locks, whether it lives or not. It stops
            when it sees that.

    Raises:
        UsageError: if another runner holds it; names the runner.
    """
    file = folder / NAME
    number = _opened(file, take_over=take_over)
    mine = Holder(host=socket.gethostname(), pid=os.getpid(), token=secrets.token_hex(8), since=now())
    try:
        os.ftruncate(number, 0)
        os.pwrite(number, mine.model_dump_json(indent=1).encode(), 0)
    except OSError:
        file.unlink(missing_ok=True)
        os.close(number)
        raise
    lock = Lock(file, mine, number)
    try:
        yield lock
    finally:
        with contextlib.suppress(OSError):  # the folder may be gone or read-only by now
            lock.release()


def find(folder: Path) -> Found | None:
    """The lock on a run folder; None if nobody runs in it. Nothing is written."""
    holder = _read(folder / NAME)
    if holder is None:
        return None
    with contextlib.suppress(OSError), (folder / NAME).open("rb") as file:
        return Found(holder, _state(file.fileno(), alone=False))
    return None


def _state(number: int, *, alone: bool) -> State:
    """Lock an open file, alone or beside others; say what that shows of who held it: `dead` if it is locked now."""
    if sys.platform == "win32":
        return "unknown"
    try:
        fcntl.flock(number, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return "alive"
    except OSError as error:
        if error.errno in NO_LOCKS:
            return "unknown"
        raise
    return "dead"


def _opened(file: Path, *, take_over: bool) -> int:
    """Descriptor of the file, which is locked, or new where there are no locks."""
    for left in reversed(range(TRIES)):
        new = True
        try:
            number = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            new = False
            try:
                number = os.open(file, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
            except FileNotFoundError:  # given back a moment ago
                continue
        state = _state(number, alone=True)
        if (state == "dead" and _is(file, number)) or (state == "unknown" and new):
            return number
        os.close(number)
        if state == "dead":  # who held it has removed the file since
            continue
        holder = _read(file) or Holder()
        may_be_dead = state == "unknown" or holder.host != socket.gethostname()
        if take_over and may_be_dead:
            file.unlink(missing_ok=True)
        elif left:
            time.sleep(PAUSE_S)
        else:
            more = " If it is dead, take the folder over: `modbench resume --take-over`." * may_be_dead
            raise UsageError(f"{str(file.parent)!r} is in use by {holder.words}. Wait for it, or end it first.{more}")
    raise UsageError(f"{str(file.parent)!r}: other runners take this folder at the same moment. Try again.")


def _is(file: Path, number: int) -> bool:
    """Whether an open file still has its name."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(file.stat(), os.fstat(number))
    return False


def _read(file: Path) -> Holder | None:
    """The holder that a file names; one without a name if it is damaged or not written yet, None if there is no file."""
    try:
        return Holder.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except UsageError:
        raise
    except ValueError:
        return Holder()
