"""The command line. Only typer is imported here; everything else is imported when a command needs it."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from modbench import __version__
from modbench.commands._app import app
from modbench.harness.core.errors import ModbenchError, UsageError, brief
from modbench.harness.core.masking import masked
from modbench.harness.core.printable import escaped

# isort: off
# Importing a command's file registers it; `modbench --help` lists the commands in this order.
from modbench.commands import run, plan, listing, validate, report, cost, doctor, train, profile, gate
# isort: on

__all__ = ["app", "cost", "doctor", "gate", "listing", "main", "plan", "profile", "report", "run", "train", "validate"]


def main() -> None:
    """Run the command line; a user's mistake ends in one or two lines and exit code 2."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # a terminal without UTF-8 shows "?" instead of ending the run
        _check_arguments()
        app()
    except ModbenchError as error:
        print(f"modbench: {masked(brief(escaped(str(error))))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("modbench: interrupted. Nothing was kept.", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        if error.filename is None:
            raise
        # A path that cannot be found, read or written is one that the user named, or lies below one.
        where = masked(escaped(brief(str(error.filename), 300), lines=False))
        print(f"modbench: {where}: {error.strerror}. Check the path and its permissions.", file=sys.stderr)
        sys.exit(2)
    except Exception:  # noqa: BLE001  # the outermost call: anything else is our bug, and the message says so
        import traceback

        traceback.print_exc()
        print("modbench: this is a bug in modbench; the lines above say where.", file=sys.stderr)
        sys.exit(3)


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
