"""`modbench import`: pytest-benchmark's times of single components, into a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modbench.extend import JsonFlag, command, say, say_json


@command("import", group="Decide")
def import_times(
    file: Annotated[Path, typer.Argument(metavar="FILE.json", help="A JSON file of pytest-benchmark.")],
    into: Annotated[str, typer.Option("--into", metavar="RUN", help="The run whose report then shows the times.")],
    as_json: JsonFlag = False,
) -> None:
    """Add the times of a JSON file of pytest-benchmark to the report of a run.

    modbench import FILE.json --into RUN
    """
    from modbench.extend import api, counted, read
    from modbench.plugins.pytest import components

    run = read(into)
    found = components.imported(file)
    kept = components.keep(run.path, found)
    finished = api.report(into)
    if as_json:
        say_json({"components": len(found.components), "file": str(kept), "report": str(finished.report)})
    else:
        number = counted(len(found.components), "component")
        say(
            f"{number} of {found.source} kept in {kept}: one process each, so no verdicts.\n\nreport: {finished.report}"
        )
