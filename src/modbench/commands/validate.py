"""`modbench validate`."""

from __future__ import annotations

from typing import Annotated

import typer

from modbench.commands._app import command
from modbench.commands._flags import JsonFlag, suites
from modbench.commands._output import say, say_json


@command()
def validate(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="A suite's TOML file, or a shipped suite's name.", autocompletion=suites),
    ],
    as_json: JsonFlag = False,
) -> None:
    """Check a suite file."""
    from modbench.harness.planning.arms import unsolved_arms
    from modbench.harness.planning.load_suite import load_suite

    suite = load_suite(file)
    arms = unsolved_arms(suite)
    if as_json:
        say_json({"suite": suite.name, "arms": len(arms), "metrics": list(suite.metrics)})
    else:
        say(f"{file} is valid. Suite {suite.name!r}: {len(arms)} arms, {len(suite.metrics)} metrics.")
