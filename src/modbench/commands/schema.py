"""`modbench schema`."""

from __future__ import annotations

from typing import Annotated

import typer

from modbench.commands._app import app
from modbench.commands._complete import one_of
from modbench.commands._output import say_json
from modbench.harness.core.errors import unknown
from modbench.tools.schema import KINDS, schema_of


@app.command(include=False)
def schema(
    kind: Annotated[
        str, typer.Argument(metavar="[KIND]", help="report, suite, record or plan.", autocompletion=one_of(*KINDS))
    ] = "report",
) -> None:
    """Print the JSON Schema of a kind of file."""
    if kind not in KINDS:
        raise unknown("schema", kind, KINDS)
    say_json(schema_of(kind))
