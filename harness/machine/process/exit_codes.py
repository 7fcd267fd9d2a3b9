"""The ends of processes, of commands and of jobs: an exception becomes one line on standard error, and an exit code.

Two codes say more to a runner than to a user: those of `graceful_stop.py`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import traceback
from typing import NoReturn

from modbench.harness.core.errors import IncompleteError, ModbenchError, brief
from modbench.harness.core.masking import masked
from modbench.harness.core.plain_text import escaped
from modbench.harness.machine.process.graceful_stop import CannotWrite, DeviceLost, ProcessChangedError, Stopped

# Exit code after Ctrl-C where there was nothing to keep, as shells have it.
INTERRUPTED = 130
BUG = "this is a bug in modbench"


def remark(said: str) -> None:
    """Write one line about this command to standard error."""
    print(f"modbench: {masked(brief(escaped(said)))}", file=sys.stderr, flush=True)  # noqa: T201  # what it is for


def end(error: BaseException) -> NoReturn:
    """End a command that an exception stopped: a user's mistake with a line or two and code 2, a failure of the tool with 3."""
    ignore_interrupts()
    message, code = message_and_code(error)
    with contextlib.suppress(OSError):  # standard error may be closed, or on a full disk
        if message:
            remark(message)
    for number in (1, 2):  # else Python would try once more to print what nobody takes, and end with code 120
        stream = sys.stdout if number == 1 else sys.stderr
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)
    sys.exit(code)


def message_and_code(error: BaseException) -> tuple[str, int]:
    """The message and exit code of a command that an exception stopped. Of a bug the traceback is printed too."""
    match error:
        case ModbenchError():
            return str(error), error.exit_code
        case KeyboardInterrupt():
            incomplete = _interrupted_run(error)
            return ("interrupted.", INTERRUPTED) if incomplete is None else (str(incomplete), incomplete.exit_code)
        case BrokenPipeError():  # the reader of our output has gone away: it has seen what it wanted
            return "", 0
        case OSError() | MemoryError():
            return _system_error(error)
        case CannotWrite():
            return _system_error(error.__cause__ if isinstance(error.__cause__, OSError) else OSError(str(error)))
    traceback.print_exception(error)
    return f"{BUG}; the lines above say where.", 3


def code_of_job(error: BaseException) -> int:
    """Exit code of a job's process that an exception ends; its traceback is in the log."""
    if isinstance(error, ProcessChangedError):
        return error.job_code
    return error.exit_code if isinstance(error, DeviceLost | Stopped | CannotWrite) else 1


def by_signal(number: int) -> None:
    """End this process by a signal, as a process that it waited for ended."""
    with contextlib.suppress(OSError):  # SIGKILL has no handler
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def ignore_interrupts() -> None:
    """Let a further Ctrl-C not interrupt the end of this process."""
    with contextlib.suppress(ValueError):  # outside the main thread
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _interrupted_run(interrupt: BaseException) -> IncompleteError | None:
    """The message of an interrupted run, if a second Ctrl-C came before it was printed."""
    error: BaseException | None = interrupt
    while error is not None:
        if isinstance(error, IncompleteError):
            return error
        error = error.__context__
    return None


# The system or its administrator refuses, whatever is asked.
REFUSALS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.EFBIG),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN),
}


def _system_error(error: OSError | MemoryError) -> tuple[str, int]:
    """The message and exit code where the system refused: 2 for a path that the user named, 3 for lack of anything else."""
    if isinstance(error, MemoryError):
        return "the system gave no memory. Free some, or raise the limit (ulimit -v).", 3
    name = "" if error.filename is None else f"{escaped(brief(str(error.filename), 300), lines=False)}: "
    refusal = f"{name}{error.strerror or error}."
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        return f"{refusal} Raise the limit of open files (ulimit -n).", 3
    if error.errno in REFUSALS or error.filename is None:
        return f"{refusal} Nothing that was finished is lost; make room there, then repeat the command.", 3
    # A path that cannot be found, read or written is one that the user named, or lies below one.
    return f"{refusal} Check the path and its permissions.", 2
