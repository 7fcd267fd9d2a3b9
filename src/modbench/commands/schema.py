"""`modbench schema`: JSON Schemas of the files that modbench writes or reads."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from modbench.commands._app import command
from modbench.commands._flags import one_of
from modbench.commands._output import say_json
from modbench.harness.core.errors import unknown

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# Schemas by name, and the files that they describe.
KINDS = {
    "report": "report.json, which `modbench report RUN --format json` writes",
    "suite": "a suite's TOML file",
    "record": "a file in a run's units/",
    "plan": "the plan in a run's run.json",
    "audit": "audit.json, which `modbench audit` writes and --json prints",
}


@command(include=False)
def schema(
    kind: Annotated[
        str,
        typer.Argument(metavar="[KIND]", help="report, suite, record, plan or audit.", autocompletion=one_of(*KINDS)),
    ] = "report",
) -> None:
    """Print the JSON Schema of a kind of file."""
    if kind not in KINDS:
        raise unknown("schema", kind, KINDS)
    say_json(schema_of(kind))


def schema_of(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of one of `KINDS`."""
    return {"$schema": DIALECT, "description": KINDS[kind], **_schema(kind)}


def _schema(kind: str) -> dict[str, Any]:
    if kind == "suite":
        from modbench.harness.planning.editor_schema import suite_schema

        return suite_schema()
    from pydantic import BaseModel

    from modbench.harness.domain.records import Record
    from modbench.harness.planning.plan import Plan
    from modbench.reports.formats.json import Report
    from modbench.reports.page.audit_files import Audit

    models: dict[str, type[BaseModel]] = {"report": Report, "record": Record, "plan": Plan, "audit": Audit}
    return models[kind].model_json_schema(mode="serialization" if kind in {"report", "audit"} else "validation")
