"""The command line. Only typer is imported here; everything else is imported when a command needs it."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from modbench import commands
from modbench.commands._app import PluginFlag, app
from modbench.harness.core.errors import UsageError, in_short
from modbench.harness.machine.process import exit_codes
from modbench.harness.machine.process.graceful_stop import CannotWrite
from modbench.harness.registry import plugin_manifests
from modbench.version import __version__

__all__ = ["app", "main"]
for _command in pkgutil.iter_modules(commands.__path__):
    if not _command.name.startswith("_"):
        importlib.import_module(f"{commands.__name__}.{_command.name}")  # registers the command


def _named_folders(arguments: Sequence[str]) -> Iterator[str]:
    """The folders after `--plugin`: what they add must be known before the arguments are parsed."""
    for at, argument in enumerate(arguments):
        flag, equals, folder = argument.partition("=")
        if flag == "--plugin" and (equals or at + 1 < len(arguments)):
            yield folder if equals else arguments[at + 1]


def _register_plugins() -> None:
    """Import the files with commands of plug-ins."""
    for plugin in plugin_manifests.usable():
        for file in plugin.adds.get("commands", {}).values():
            plugin_manifests.import_from(plugin)
            try:
                importlib.import_module(plugin.module(file))
            except Exception as error:
                if plugin.source == "shipped":
                    raise
                exit_codes.remark(f"the plug-in {plugin.name!r} ({plugin.origin}): {file}: {in_short(error)}")


_register_plugins()


def main() -> None:
    """Run the command line; a user's mistake ends in one or two lines and exit code 2, a failure of the tool in 3."""
    try:
        try:
            _open_streams()
            for stream in (sys.stdout, sys.stderr):
                if isinstance(stream, io.TextIOWrapper):
                    stream.reconfigure(errors="replace")  # a terminal without UTF-8 shows "?" instead of ending the run
            _check_arguments()
            plugin_manifests.include(_named_folders(sys.argv[1:]))
            _register_plugins()
            _run()
        except (Exception, KeyboardInterrupt, CannotWrite) as error:  # noqa: BLE001  # the outermost call
            exit_codes.end(error)
    except KeyboardInterrupt as again:  # it came before `end` ignored it
        exit_codes.end(again)


def _open_streams() -> None:
    """Open the null device where a standard stream is closed: else the next file would get its number, and the output."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # the lowest free number
                setattr(sys, name, os.fdopen(number, mode, closefd=False))


def _run() -> None:
    """Run the command and flush its output, so that an error of writing is raised here."""
    try:
        app(prog_name="modbench")  # also as `python -m modbench`: completion is looked for by this name
    except SystemExit as ended:
        if ended.code == exit_codes.INTERRUPTED:  # typer makes it of Ctrl-C
            raise KeyboardInterrupt from None
        # typer makes exit code 1 of both: a reader has gone away, or a file that was read has no content.
        cause = ended.__context__ if ended.__context__ is None else (ended.__context__.__cause__ or ended.__context__)
        if isinstance(cause, BrokenPipeError | EOFError):
            raise cause from None
        exit_codes.ignore_interrupts()
        if sys.stdout is not None:
            sys.stdout.flush()
        raise


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
    plugin: PluginFlag = None,  # as above, `main` reads it
) -> None:
    pass
