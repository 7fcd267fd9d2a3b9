"""One runner per run folder: a lease with host, process and heartbeat, in `lock.json`; under another name, of a file beside it.

The file outlives its runner if that is killed. On the host that wrote it, the process table then shows that the runner is dead,
and the next one takes over. From elsewhere only the heartbeat shows it: the file's time of change, compared with that of a file
written now to the same folder, so that no two clocks are compared. Such a lease is taken only with `--steal`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modbench.harness.core.errors import IncompleteError, ModbenchError, UnreadableError, UsageError
from modbench.harness.core.files import now, write_once
from modbench.harness.core.frozen import Frozen
from modbench.harness.core.units import human_duration
from modbench.harness.process import processes

NAME = "lock.json"
# A runner touches its lease so often. A longer pause than the second number, seen from another host, counts as dead.
BEAT_S, LEASE_S = 10.0, 60.0
# Attempts to take a lease that others take at the same moment.
TRIES = 20
# Seconds within which a lease that was moved by mistake is put back.
AGAIN_S = 0.2
# Who may wait for a lease looks again so often; a test replaces the pause.
PAUSE_S = 0.1
pause = time.sleep

State = Literal["alive", "dead", "silent"]


class Holder(Frozen):
    """The runner that holds a folder.

    Attributes:
        host: name of its host.
        pid: its process.
        began: when that process began, in the system's own unit, which tells it from a later one with the same number.
        kernel: the boot and the process namespace in which `pid` has a meaning; empty where the system does not tell.
        token: a random word; two leases never have the same.
        since: when it took the folder, UTC, ISO 8601.
    """

    host: str
    pid: int
    began: str
    kernel: str
    token: str
    since: str

    @property
    def words(self) -> str:
        """The holder in words."""
        return f"process {self.pid} on {self.host}, since {self.since}"


@dataclass(frozen=True)
class Lease:
    """A lease as found.

    Attributes:
        holder: who holds the folder.
        silent_s: seconds since its last heartbeat, by the file system's clock; below 0 where that clock was set back, or the file
            copied from elsewhere.
        state: `alive` or `dead`, as the process table of this host shows; of another host `alive` while its heartbeat lasts, then
            `silent`.
    """

    holder: Holder
    silent_s: float
    state: State

    @property
    def words(self) -> str:
        """The holder, and whether it lives, in words."""
        return f"{self.holder.words}: {self.state}, heartbeat {when(self.silent_s)}"


class Lock:
    """A held folder. Use `hold`."""

    def __init__(self, folder: Path, holder: Holder, name: str = NAME) -> None:
        self.folder, self.file, self.holder = folder, folder / name, holder
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="modbench-lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Check that the folder is still held.

        Raises:
            IncompleteError: if another runner took it.
            ModbenchError: if the folder is gone.
        """
        found = self._found()
        if found is None and not (self.folder / "run.json").exists():  # or another folder has its name
            raise ModbenchError(
                f"{str(self.folder)!r} is gone: it was moved or removed while units ran. Put it back to go on."
            )
        if found is None:
            raise IncompleteError(f"{self.file} was removed. This runner stops; what it finished is kept.")
        if found.token != self.holder.token:
            raise IncompleteError(
                f"{str(self.folder)!r} was taken over by {found.words}. This runner stops; what it finished is kept."
            )

    @property
    def mine(self) -> bool:
        """Whether the folder is still held, at a quick look."""
        with contextlib.suppress(OSError, UsageError):
            return self._is_mine(_read(self.file))
        return False

    def _is_mine(self, found: Holder | None) -> bool:
        return found is not None and found.token == self.holder.token

    def _found(self) -> Holder | None:
        """The holder of the folder. Look twice: a runner that takes over a dead lease may move ours by mistake and restore it."""
        found = _read(self.file)
        if not self._is_mine(found):
            time.sleep(AGAIN_S)
            found = _read(self.file)
        return found

    def release(self) -> None:
        """Give the folder back, if it is still held."""
        self._ended.set()
        self._thread.join()
        if self._is_mine(_read(self.file)):
            self.file.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            with contextlib.suppress(
                OSError, UsageError
            ):  # a folder that is gone is noticed where something is written
                if self._is_mine(self._found()):
                    os.utime(self.file)


@contextlib.contextmanager
def hold(folder: Path, *, steal: bool = False, name: str = NAME, wait_s: float = 0.0) -> Iterator[Lock]:
    """Hold a folder in the `with` block.

    Args:
        folder: the run folder.
        steal: take it from a runner on another host whose heartbeat has stopped.
        name: of the lease's file.
        wait_s: how long to wait for who holds it.

    Raises:
        UsageError: if another runner holds it; names the runner.
    """
    lock = Lock(folder, _take(folder, steal=steal, name=name, wait_s=wait_s), name)
    try:
        yield lock
    finally:
        with contextlib.suppress(OSError):  # the folder may be gone or read-only by now
            lock.release()


def lease(folder: Path, *, writes: bool = True, name: str = NAME) -> Lease | None:
    """The lease on a folder; None if nobody runs in it.

    Args:
        folder: the run folder.
        writes: whether a file may be written for a moment, to read the file system's clock; else this host's clock is used.
        name: of the lease's file.

    Raises:
        UsageError: if the file is damaged.
    """
    file = folder / name
    holder = _read(file)
    if holder is None:
        return None
    try:
        clock = _clock_of(folder) if writes else time.time()
        silent = clock - file.stat().st_mtime
    except FileNotFoundError:  # given back a moment ago
        return None
    return Lease(holder, silent, _state(holder, silent))


def _take(folder: Path, *, steal: bool, name: str = NAME, wait_s: float = 0.0) -> Holder:
    mine = Holder(
        host=socket.gethostname(),
        pid=os.getpid(),
        began=processes.began(os.getpid()),
        kernel=processes.kernel(),
        token=secrets.token_hex(8),
        since=now(),
    )
    file, pauses = folder / name, round(wait_s / PAUSE_S)
    for _ in range(TRIES + pauses):
        if _written(file, mine):
            return mine
        found = lease(folder, name=name)
        if found is None:
            continue
        if found.state == "dead" or (steal and found.state == "silent"):
            _remove(file, found.holder, mine)
        elif pauses:
            pauses -= 1
            pause(PAUSE_S)
        else:
            raise UsageError(_refusal(file, found))
    raise UsageError(f"{str(folder)!r}: other runners take this folder at the same moment. Try again.")


def _written(file: Path, mine: Holder) -> bool:
    """Write the lease, if there is none."""
    if write_once(file, mine.model_dump_json(indent=1)):
        return True
    found = _read(file)
    return found is not None and found.token == mine.token


def _remove(file: Path, dead: Holder, mine: Holder) -> None:
    """Remove a dead runner's lease, unless another runner has just replaced it."""
    aside = file.with_name(f".{file.name}.{mine.token}.dead")
    try:
        file.rename(aside)
    except FileNotFoundError:  # another runner was faster
        return
    moved = _read(aside)
    if moved is not None and moved.token != dead.token:
        with contextlib.suppress(
            OSError
        ):  # put back a living runner's lease; if a third took its place, it notices and stops
            os.link(aside, file)
    aside.unlink(missing_ok=True)


def _refusal(file: Path, found: Lease) -> str:
    folder, last = file.parent, f"its last heartbeat was {when(found.silent_s)}"
    if found.state == "silent":
        return (
            f"{str(folder)!r} is held by {found.holder.words}; {last}, so it is most likely dead. "
            f"If it is, take the folder over: `modbench resume --steal`, or remove {file}."
        )
    return f"{str(folder)!r} is in use by {found.holder.words}; {last}. Wait for it, or end it first."


def when(silent_s: float) -> str:
    """When a heartbeat was, in words."""
    if silent_s < -LEASE_S:
        return f"{human_duration(-silent_s)} in the future"
    return f"{human_duration(max(0.0, silent_s))} ago"


def _state(holder: Holder, silent_s: float) -> State:
    # A time in the future would otherwise be a sign of life until then; a living runner corrects it at its next heartbeat.
    beating = abs(silent_s) <= LEASE_S
    if holder.host != socket.gethostname():
        return "alive" if beating else "silent"
    if holder.kernel and holder.kernel == processes.kernel():
        return "alive" if processes.began(holder.pid) == holder.began else "dead"
    if (
        not holder.kernel and not processes.kernel()
    ):  # all that this system tells is whether some process has that number
        return "alive" if processes.exists(holder.pid) else "dead"
    # The same name, but another boot, container or machine.
    return "alive" if beating else "silent"


def _clock_of(folder: Path) -> float:
    """The time now by the clock of the folder's file system."""
    probe = folder / f".clock.{secrets.token_hex(4)}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _read(file: Path) -> Holder | None:
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return Holder.model_validate_json(content)
    except ValueError as error:
        raise UnreadableError(f"{file}: damaged. If no modbench runs in this folder, remove the file.") from error
