"""`modbench init`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from modbench.commands._app import command
from modbench.commands._flags import JsonFlag, flag, listed, matching, models, refuse, suites
from modbench.commands._output import say, say_json


def _files(incomplete: str) -> list[tuple[str, str]]:
    """Complete what FILE begins with."""
    from modbench.commands.init.starts import STARTS

    return matching(((start.command.split()[2].removesuffix("FOLDER"), start.does) for start in STARTS), incomplete)


@command()
def init(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE",
            help="What to write: FILE.py, FILE.yml or FILE.toml, which must not exist; or hf:FOLDER.",
            autocompletion=_files,
        ),
    ] = None,
    source: Annotated[
        str | None,
        flag(
            "--from",
            "SUITE",
            "For a suite: take the values of this one, shipped or a file. For a workflow: what it measures.",
            suites,
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        flag(
            "--model",
            "LIST",
            "For a suite: compare these models with dense, names or FILE.py:build. For a workflow: the one to gate.",
            models,
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Begin with a model, a checkpoint or a repository.

    Without FILE: what you may have, and the command for it.

    FILE.toml is a suite, written with every key explained, and a schema by which editors check it; FILE.py a model; FILE.yml a
    workflow that gates pull requests. Of hf:FOLDER the commands are printed.
    """
    from modbench.commands.init import starts

    if file is None and source is None and model is None:
        if as_json:
            say_json({"starts": [asdict(start) for start in starts.STARTS]})
        else:
            say(starts.as_text())
        return
    named, chosen = file or "suite.toml", listed("--model", model, str)
    kind = starts.kind_of(named)
    if kind is not starts.SUITE:
        if kind is not starts.REPOSITORY:
            refuse({"--from": source, "--model": model}, "a suite or a workflow, such as suite.toml")
        begun = starts.begin(kind, named, chosen, source)
        if as_json:
            say_json(begun.as_json())
        else:
            say(begun.as_text())
        return
    from modbench.commands.init.suite_file import write_suite

    written, schema = write_suite(named, source, chosen)
    if as_json:
        say_json({"suite": str(written), "schema": str(schema)})
        return
    say(
        f"wrote {written} and {schema}, with which editors check it.\n"
        f"next: modbench plan {written}  (what would run, and how long it takes)\n"
        f"      modbench run {written}"
    )
