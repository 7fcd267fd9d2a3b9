"""How a job's process ends without a record for a reason that is no failure of what it measured. No torch.

The parent tells these ends apart by their exit codes (those of `sysexits.h` where it has one).
"""

from __future__ import annotations

import contextlib
import errno
import signal
import sys
from collections.abc import Iterator
from types import FrameType

from modbench.harness.core.errors import UsageError, in_short

# A signal that asks a training job to save a checkpoint and end; other jobs go on to their record.
STOP_SIGNAL = getattr(signal, "SIGUSR1", None)
_requested = False


class Stopped(BaseException):
    """A training job ended at a checkpoint, as it was asked to: the next run continues there."""

    exit_code = 75


class CannotWrite(BaseException):
    """A job could not write its record or its log: the disk is full, read-only or gone. The text says which."""

    exit_code = 74


# What the system says of a disk that takes no more, or is no longer there.
DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENOENT, errno.ESTALE, errno.EFBIG})


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Turn a failure of the disk in the `with` block into `CannotWrite`."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK:
            raise
        raise CannotWrite(f"{error.filename}: {error.strerror}") from error


def listen() -> None:
    """Handle `STOP_SIGNAL` from now on. Before that the signal kills the process, which has done nothing yet."""
    if STOP_SIGNAL is not None:
        signal.signal(STOP_SIGNAL, _on_signal)


def request_stop(wanted: bool = True) -> None:  # noqa: FBT001, FBT002  # a switch
    """Ask this process to end at a checkpoint, where a command trains without a worker; or withdraw that."""
    global _requested  # noqa: PLW0603  # one question for the process
    _requested = wanted


def stop_requested() -> bool:
    """Whether this process was asked to end at its next checkpoint."""
    return _requested


def _on_signal(_number: int, _frame: FrameType | None) -> None:
    global _requested  # noqa: PLW0603  # a signal handler has nowhere else to leave word
    _requested = True


class DeviceLost(BaseException):
    """An error after which no CUDA call of this process works or can be trusted: only a new process has a device again.

    No `Exception`, which would fail one variant only. The process ends without a record, and the runner tries again without the
    user's models.
    """

    exit_code = 77


class ProcessChangedError(UsageError):
    """A user's model changed a setting of its process; the text says which model and what.

    Nothing else may be measured under it: as after `DeviceLost`, the process ends without a record, and the runner tries again
    without the user's models.
    """

    job_code = 78


def end_if_lost(error: BaseException) -> None:
    """End this process if a variant's exception says so, or breaks the device for good, as an index out of range does.

    Raises:
        ProcessChangedError: if that is the exception.
        DeviceLost: if the device does not work. A lack of memory leaves it in order.
    """
    if isinstance(error, ProcessChangedError):
        raise error
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return
    try:
        torch.cuda.synchronize()
    except RuntimeError as later:
        raise DeviceLost(f"{type(later).__name__}: {in_short(later, 300)}") from error


def message(of: type[BaseException], log: str) -> str:
    """The text of the exception of a kind that ended a process, from its log."""
    lines = [line for line in log.splitlines() if line.startswith(f"{of.__module__}.{of.__name__}: ")]
    return lines[-1].partition(": ")[2] if lines else ""
