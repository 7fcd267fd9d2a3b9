"""`modbench convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modbench.commands._app import app
from modbench.commands._flags import JsonFlag
from modbench.commands._output import say, say_json


@app.command()
def convert(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A JSON file that pytest-benchmark wrote.")],
    into: Annotated[str, typer.Option("--into", metavar="RUN", help="The run folder that takes it.")],
    as_json: JsonFlag = False,
) -> None:
    """Import pytest-benchmark's times of single components into a run, whose report then shows them."""
    from modbench import api
    from modbench.harness.results import components
    from modbench.harness.results.run_folder import read

    run = read(into)
    found = components.imported(Path(file))
    kept = components.keep(run.path, found)
    finished = api.report(into)
    if as_json:
        say_json({"components": len(found.components), "file": str(kept), "report": str(finished.report)})
    else:
        number = len(found.components)
        said = f"{number} component{'s' * (number != 1)} of {found.source} kept in {kept}: one process each, so no verdicts."
        say(f"{said}\n\nreport: {finished.report}")
