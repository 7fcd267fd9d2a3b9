"""`modbench schema`."""

from __future__ import annotations

from typing import Annotated

import typer

from modbench.commands._app import app
from modbench.commands._output import say_json
from modbench.harness.core.errors import unknown

# What has a schema, and what it is the schema of.
KINDS = {
    "report": "report.json, which `modbench report RUN --format json` writes",
    "suite": "a suite's TOML file",
    "record": "a file in a run's units/",
    "plan": "the plan in a run's run.json",
}


@app.command()
def schema(
    kind: Annotated[str, typer.Argument(metavar="[KIND]", help="report, suite, record or plan.")] = "report",
) -> None:
    """Print the JSON Schema of a file that modbench writes or reads."""
    if kind not in KINDS:
        raise unknown("schema", kind, KINDS)
    from pydantic import BaseModel

    from modbench.harness.planning.plan import Plan
    from modbench.harness.planning.suite import Suite
    from modbench.harness.results.records import Record
    from modbench.reports.formats._schema import Report

    models: dict[str, type[BaseModel]] = {"report": Report, "suite": Suite, "record": Record, "plan": Plan}
    made = models[kind].model_json_schema(mode="serialization" if kind == "report" else "validation")
    say_json({"$schema": "https://json-schema.org/draft/2020-12/schema", "description": KINDS[kind], **made})
