"""`modbench demo`: renders a stored run that ships with modbench, without measuring."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modbench.commands._app import command
from modbench.commands._flags import JsonFlag, QuietFlag, flag, one_of
from modbench.commands._output import print_summary, say
from modbench.harness.core.errors import unknown

if TYPE_CHECKING:
    from modbench.api import Finished


@command()
def demo(
    suite: Annotated[
        str,
        typer.Argument(metavar="[SUITE]", help="Whose run: map or quick.", autocompletion=one_of("map", "quick")),
    ] = "map",
    out: Annotated[str | None, flag("-o --out", "DIR", "Run folder; default runs/demo-DATE-N.")] = None,
    open_: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the report in a browser, if there is one.")
    ] = True,
    quiet: QuietFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Show a finished report in seconds.

    Nothing is measured: the run ships with modbench.
    """
    finished = render_demo(suite, out)
    print_summary(finished, as_json=as_json, quiet=quiet)
    if open_ and not as_json and not open_page(finished.report) and not quiet:
        say("no browser was found: open the report's file in one.")


def render_demo(suite: str, out: str | None = None) -> Finished:
    """Copy a run of `SHIPPED` into a new folder, by default `runs/demo-DATE-N`, and render its report.

    Raises:
        UsageError: if no run of this suite ships, or the folder cannot be written or holds files.
    """
    from modbench import api
    from modbench.harness.results.run_folder import create
    from modbench.reports.demo import SHIPPED, unpack

    if suite not in SHIPPED:
        raise unknown("stored run", suite, SHIPPED)
    folder = create(out, "demo").path
    unpack(folder, SHIPPED[suite])
    return api.report(str(folder))


def open_page(page: Path) -> bool:
    """Open a page in a browser; False if there is none with a window, or it did not start."""
    import webbrowser

    windows = sys.platform in {"darwin", "win32"} or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))
    try:
        return windows and webbrowser.open(page.resolve().as_uri())
    except (webbrowser.Error, OSError):
        return False
