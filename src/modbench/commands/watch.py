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
    from modbench.tools.run_snapshot import RunSnapshot
    from modbench.tools.watch import Watch

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
    from modbench.tools import watch_text
    from modbench.tools.watch import Watch

    watched = Watch(run_folder)
    if once or as_json or not sys.stdout.isatty():
        seen = watched.look()
        if as_json:
            say_json(watch_text.as_json(seen))
        else:
            say("\n".join(watch_text.as_lines(seen, verbose=verbose)))
    else:
        seen = _live(watched, verbose=verbose)
    if not seen.complete:
        raise typer.Exit(IncompleteError.exit_code)


def _live(watched: Watch, *, verbose: bool = False) -> RunSnapshot:
    """Show the run until it has ended, or its runner is gone, or Ctrl-C; then leave the last picture, whole."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from modbench.tools import watch_text

    def picture(seen: RunSnapshot) -> Text:
        size = shutil.get_terminal_size()
        return Text("\n".join(watch_text.as_lines(seen, size.columns, size.lines - 1)), no_wrap=True)

    seen = watched.look()
    try:
        with Live(picture(seen), console=Console(), auto_refresh=False, transient=True) as live:
            while seen.state == "running":
                time.sleep(REFRESH_S)
                seen = watched.look()
                live.update(picture(seen), refresh=True)
    except KeyboardInterrupt:  # the run goes on: only looking at it ends
        pass
    say("\n".join(watch_text.as_lines(seen, verbose=verbose)))
    return seen
