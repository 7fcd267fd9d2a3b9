"""`modbench verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from modbench.extend import JsonFlag, VerboseFlag, command, say, say_json


@command(group="Look up")
def verify(
    select: Annotated[
        str, typer.Option("-k", metavar="EXPR", help="Only matching rows: 'chinchilla and not parameters'.")
    ] = "",
    *,
    verbose: VerboseFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Recompute published numbers from closed forms.

    Exit code 1: a number comes out wrong.
    """
    from modbench.plugins.published.recompute import as_text, verified, wrong

    rows = verified(select)
    if as_json:
        say_json([row.as_dict() for row in rows], allow_nan=False)
    else:
        say(as_text(rows, verbose=verbose))
    if wrong(rows):
        raise typer.Exit(1)
