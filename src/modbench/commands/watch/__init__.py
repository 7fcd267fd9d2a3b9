"""`modbench watch`."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from modbench.commands._app import command
from modbench.commands._flags import JsonFlag, RunOrNewest, VerboseFlag
from modbench.commands._output import chosen_run, say, say_json
from modbench.harness.core.errors import IncompleteError

if TYPE_CHECKING:
    from modbench.commands.watch.snapshot import Snapshot


@command()
def watch(
    run_folder: RunOrNewest = None,
    *,
    once: Annotated[bool, typer.Option("--once", help="Print once; exit 4 if the run is incomplete.")] = False,
    verbose: VerboseFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Show progress and time left of a run.

    Reads the folder of the run: works in another terminal, and on another machine that sees the folder.
    """
    from modbench.commands.watch.snapshot import as_json as as_values
    from modbench.commands.watch.snapshot import as_lines, take

    folder = chosen_run(run_folder, as_json=as_json)
    seen = take(folder)
    if seen.alive and sys.stdout.isatty() and not (once or as_json):
        seen = _live(seen)
    if as_json:
        say_json(as_values(seen))
    else:
        say("\n".join(as_lines(seen, verbose=verbose)))
    if not seen.complete:
        raise typer.Exit(IncompleteError.exit_code)


def _live(seen: Snapshot) -> Snapshot:
    """Show the run until it has ended, or its runner is gone, or Ctrl-C."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from modbench.commands.watch.snapshot import as_lines, take

    # Ctrl-C: the run goes on, only looking at it ends.
    with contextlib.suppress(KeyboardInterrupt), Live(console=Console(), auto_refresh=False, transient=True) as live:
        while seen.alive:
            size = shutil.get_terminal_size()
            live.update(Text("\n".join(as_lines(seen, size.columns, size.lines - 1)), no_wrap=True), refresh=True)
            time.sleep(1.0)
            seen = take(seen.run)
    return seen
