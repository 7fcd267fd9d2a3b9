"""`modbench audit`."""

from __future__ import annotations

from typing import Annotated

import typer

from modbench.commands._app import command
from modbench.commands._complete import models, one_of
from modbench.commands._flags import Flags, JsonFlag, listed, with_flags
from modbench.commands._output import say, say_json
from modbench.harness.audit.card import ARCHITECTURES


@command()
@with_flags("option", "settings", "capacity", "seq_len", "batch_size", "dtype")
def audit(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Catalogue models, 'FILE.py:build(OPTION=VALUE)' or hf:FOLDER; several make one table.",
            autocompletion=models,
        ),
    ],
    *,
    of: Annotated[
        str | None,
        typer.Option(
            "--of",
            metavar="NAME",
            help="Hold it to what it should be: dense, mod, mode, moe or early_exit.",
            autocompletion=one_of(*ARCHITECTURES),
        ),
    ] = None,
    properties: Annotated[
        list[str] | None,
        typer.Option("--property", metavar="LIST", help="Look at these alone; exit 5 where one cannot be seen."),
    ] = None,
    flags: Flags,
    as_json: JsonFlag = False,
) -> None:
    """Find out by calls alone what a model computes, and whether it may be believed."""
    from modbench.commands.audit import auditing

    asked = listed("--property", properties, str)
    cards = auditing.cards(targets, flags.overrides(), of=of, only=asked)
    if as_json:
        say_json(auditing.as_json(cards))
    else:
        say(auditing.as_text(cards))
    code = auditing.exit_code(cards, asked)
    if code:
        raise typer.Exit(code)
