"""The command line. Only typer is imported here; everything else is imported when a command needs it."""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import os
import pkgutil
import signal
import sys
from typing import Annotated, NoReturn

import typer

from modbench import __version__, commands
from modbench.commands._app import app
from modbench.harness.core.errors import IncompleteError, ModbenchError, UsageError, brief
from modbench.harness.core.graceful_stop import CannotWrite
from modbench.harness.core.masking import masked
from modbench.harness.core.printable import escaped

__all__ = ["app", "main"]
for _command in pkgutil.iter_modules(commands.__path__):
    if not _command.name.startswith("_"):
        importlib.import_module(f"{commands.__name__}.{_command.name}")  # registers the command

# Exit code after Ctrl-C where there was nothing to keep, as shells have it.
INTERRUPTED = 130


def main() -> None:
    """Run the command line; a user's mistake ends in one or two lines and exit code 2, a failure of the tool in 3."""
    try:
        _open_streams()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # a terminal without UTF-8 shows "?" instead of ending the run
        _check_arguments()
        _run()
    except ModbenchError as error:
        _end(str(error), error.exit_code)
    except KeyboardInterrupt as interrupt:
        incomplete = _interrupted_run(interrupt)
        _end(
            "interrupted." if incomplete is None else str(incomplete),
            INTERRUPTED if incomplete is None else incomplete.exit_code,
        )
    except BrokenPipeError:  # the reader of our output has gone away: it has seen what it wanted
        _end("", 0)
    except (OSError, MemoryError) as error:
        _end(*_system_error(error))
    except CannotWrite as error:
        _end(*_system_error(error.__cause__ if isinstance(error.__cause__, OSError) else OSError(str(error))))
    except Exception:  # noqa: BLE001  # the outermost call: anything else is our bug, and the message says so
        import traceback

        traceback.print_exc()
        _end("this is a bug in modbench; the lines above say where.", 3)


def _open_streams() -> None:
    """Open the null device where a standard stream is closed: else the next file would get its number, and the output."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # the lowest free number
                setattr(sys, name, os.fdopen(number, mode, closefd=False))


def _interrupted_run(interrupt: BaseException) -> IncompleteError | None:
    """The message of an interrupted run, if a second Ctrl-C came before it was printed."""
    error: BaseException | None = interrupt
    while error is not None:
        if isinstance(error, IncompleteError):
            return error
        error = error.__context__
    return None


def _run() -> None:
    """Run the command and flush its output, so that an error of writing is raised here."""
    try:
        app(prog_name="modbench")  # also as `python -m modbench`: completion is looked for by this name
    except SystemExit as ended:
        if ended.code == INTERRUPTED:  # typer makes it of Ctrl-C
            raise KeyboardInterrupt from None
        # typer makes exit code 1 of both: a reader has gone away, or a file that was read has no content.
        cause = ended.__context__ if ended.__context__ is None else (ended.__context__.__cause__ or ended.__context__)
        if isinstance(cause, BrokenPipeError | EOFError):
            raise cause from None
        _ignore_interrupts()
        if sys.stdout is not None:
            sys.stdout.flush()
        raise


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


def _ignore_interrupts() -> None:
    """Let a further Ctrl-C not interrupt the end of this process."""
    with contextlib.suppress(ValueError):  # outside the main thread
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end(message: str, code: int) -> NoReturn:
    """Print the message and exit."""
    _ignore_interrupts()
    with contextlib.suppress(OSError):  # standard error may be closed, or on a full disk
        if message:
            print(f"modbench: {masked(brief(escaped(message)))}", file=sys.stderr, flush=True)
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


def _check_arguments() -> None:
    """Refuse arguments that are not text: they are written to JSON, file names and the report."""
    for argument in sys.argv[1:]:
        if not argument.isprintable():
            raise UsageError(
                f"argument {argument[:100]!a} is not printable UTF-8 text. Rename the file, or retype the argument."
            )


def _version(value: bool) -> None:  # noqa: FBT001  # typer's callback
    if value:
        print(f"modbench {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[  # the callback prints it
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass
