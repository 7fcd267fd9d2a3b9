"""`modbench watch`."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from modbench.commands._app import app
from modbench.commands._complete import runs
from modbench.commands._flags import JsonFlag, VerboseFlag
from modbench.commands._output import say, say_json
from modbench.harness.core.errors import IncompleteError

if TYPE_CHECKING:
    from modbench.commands.watch.run_snapshot import RunSnapshot
    from modbench.commands.watch.watcher import Watcher

REFRESH_S = 1.0


@app.command()
def watch(
    run_folder: Annotated[
        str,
        typer.Argument(metavar="RUN", help="The folder of a run, finished or not.", autocompletion=runs),
    ],
    *,
    once: Annotated[bool, typer.Option("--once", help="Print once; exit 4 if the run is incomplete.")] = False,
    verbose: VerboseFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Show progress and time left of a run.

    Reads the folder of the run: works in another terminal, and on another machine that sees the folder.
    """
    from modbench.commands.watch import snapshot_text
    from modbench.commands.watch.watcher import Watcher

    watcher = Watcher(run_folder)
    if once or as_json or not sys.stdout.isatty():
        snapshot = watcher.snapshot()
        if as_json:
            say_json(snapshot_text.as_json(snapshot))
        else:
            say("\n".join(snapshot_text.as_lines(snapshot, verbose=verbose)))
    else:
        snapshot = _live(watcher, verbose=verbose)
    if not snapshot.complete:
        raise typer.Exit(IncompleteError.exit_code)


def _live(watcher: Watcher, *, verbose: bool = False) -> RunSnapshot:
    """Show the run until it has ended, or its runner is gone, or Ctrl-C; then leave the last picture, whole."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from modbench.commands.watch import snapshot_text

    def picture(snapshot: RunSnapshot) -> Text:
        size = shutil.get_terminal_size()
        return Text("\n".join(snapshot_text.as_lines(snapshot, size.columns, size.lines - 1)), no_wrap=True)

    snapshot = watcher.snapshot()
    try:
        with Live(picture(snapshot), console=Console(), auto_refresh=False, transient=True) as live:
            while snapshot.state == "running":
                time.sleep(REFRESH_S)
                snapshot = watcher.snapshot()
                live.update(picture(snapshot), refresh=True)
    except KeyboardInterrupt:  # the run goes on: only looking at it ends
        pass
    say("\n".join(snapshot_text.as_lines(snapshot, verbose=verbose)))
    return snapshot
