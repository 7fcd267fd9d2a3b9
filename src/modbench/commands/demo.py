"""`modbench demo`."""

from __future__ import annotations

from typing import Annotated

import typer

from modbench.commands._app import app
from modbench.commands._flags import JsonFlag, QuietFlag
from modbench.commands._output import print_summary, say


@app.command()
def demo(
    out: Annotated[
        str | None, typer.Option("-o", "--out", metavar="DIR", help="Run folder; default runs/demo-DATE-N.")
    ] = None,
    open_: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in a browser, if there is one.")
    ] = True,
    quiet: QuietFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Show a finished report in seconds.

    Nothing is measured: the run ships with modbench.
    """
    from modbench.tools import demo as tool

    finished = tool.demo(out)
    print_summary(finished, as_json=as_json, quiet=quiet)
    if open_ and not as_json and not tool.open_page(finished.report) and not quiet:
        say("no browser was found: open the report's file in one.")
