"""`modbench gate`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from modbench.commands._app import app
from modbench.commands._flags import JsonFlag
from modbench.harness.core.errors import IncompleteError, UsageError


@app.command()
def gate(
    run_folder: Annotated[str, typer.Argument(metavar="RUN", help="The run folder to check.")],
    against: Annotated[str, typer.Option("--against", metavar="BASE", help="An earlier run of the same suite.")],
    margin: Annotated[float, typer.Option("--margin", help="Changes within this share are ignored.")] = 0.02,
    as_json: JsonFlag = False,
) -> None:
    """Compare a run with an earlier one: exit 1 if anything got worse, 5 if the machine is unfit to compare times."""
    import dataclasses

    from modbench.reports import gate as gates
    from modbench.reports.load import load

    if not 0 < margin < 1:
        raise UsageError(f"--margin {margin:g} is outside (0, 1): it is a share, such as 0.02.")
    run, base = load(run_folder), load(against)
    findings = gates.gate(run, base, margin)
    if as_json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
    else:
        timed = {
            key for key, metric in run.tables.metrics.items() if run.tables.made_in(metric).times and not metric.source
        }
        print("\n".join(gates.as_text(findings, margin, timed)))
    if any(finding.verdict == "worse" for finding in findings):
        raise typer.Exit(1)
    for loaded in (run, base):
        if loaded.run.missing:
            raise IncompleteError(f"{loaded.path} is incomplete: {len(loaded.run.missing)} units have no record.")
