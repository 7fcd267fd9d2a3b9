"""`modbench init`."""

from __future__ import annotations

from typing import Annotated

import typer

from modbench.commands._app import command
from modbench.commands._complete import models, suites
from modbench.commands._flags import JsonFlag, listed
from modbench.commands._output import say, say_json


@command()
def init(
    file: Annotated[
        str, typer.Argument(metavar="[FILE]", help="The suite file to write; it must not exist.")
    ] = "suite.toml",
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="SUITE",
            help="Take the values of this suite, a shipped one or a file.",
            autocompletion=suites,
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="LIST",
            help="Compare these models with dense: names, or FILE.py:build.",
            autocompletion=models,
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a suite file with every key explained.

    A schema is written beside it: editors complete and check keys by it.
    """
    from modbench.commands.init.suite_file import write_suite

    written, schema = write_suite(file, source, listed("--model", model, str))
    if as_json:
        say_json({"suite": str(written), "schema": str(schema)})
        return
    say(
        f"wrote {written} and {schema}, with which editors check it.\n"
        f"next: modbench plan {written}  (what would run, and how long it takes)\n"
        f"      modbench run {written}"
    )
