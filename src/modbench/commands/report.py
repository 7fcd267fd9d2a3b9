"""`modbench report`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from modbench.commands._app import app
from modbench.commands._flags import JsonFlag


@app.command()
def report(
    run_folder: Annotated[str, typer.Argument(metavar="RUN", help="A run folder.")],
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", metavar="ARM", help="Hold all arms against this one; default the anchor."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Render a stored run's report.html, cases.csv and comparisons.csv again."""
    from modbench import api
    from modbench.harness.core.errors import IncompleteError
    from modbench.reports import summary

    rendered = api.report(run_folder, baseline)
    loaded, page = rendered.loaded, rendered.report
    print(json.dumps(summary.as_json(loaded, page, None), indent=1) if as_json else summary.closing(loaded, page, None))
    if loaded.run.missing:
        raise IncompleteError(
            f"the run is incomplete: {len(loaded.run.missing)} of {len(loaded.run.plan.units)} units have no record "
            f"({', '.join(loaded.run.missing[:3])}{' …' if len(loaded.run.missing) > 3 else ''}). The report says so."
        )
