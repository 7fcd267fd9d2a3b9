"""`modbench gate`."""

from __future__ import annotations

from typing import Annotated

import typer

from modbench.commands._app import app
from modbench.commands._flags import JsonFlag
from modbench.commands._output import say, say_json
from modbench.harness.core.errors import IncompleteError, UnfitError, UsageError


@app.command()
def gate(
    run_folder: Annotated[str, typer.Argument(metavar="RUN", help="The run folder to check.")],
    against: Annotated[str, typer.Option("--against", metavar="BASE", help="An earlier run of the same suite.")],
    history: Annotated[
        list[str] | None,
        typer.Option(
            "--history",
            metavar="RUN",
            help="More earlier runs of this machine, or a folder of them: they show how much runs differ. May be repeated.",
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option("--margin", help="Largest slowdown that does not matter, as a share; default the suite's."),
    ] = None,
    lenient: Annotated[
        bool, typer.Option("--lenient", help="Exit 0 where it cannot tell, unless the machine is unfit.")
    ] = False,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            metavar="CHECK:LIMIT",
            help="Fail on these alone: slower:2%,energy:2%,larger:1%,flops:0%,breaks,syncs,loss:0.5%,accuracy:1%.",
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare a run with an earlier one: exit 1 if anything got worse, 5 if that can neither be shown nor excluded."""
    from modbench.reports import gate_words
    from modbench.reports.gate import gate as judge
    from modbench.reports.gate_tiers import parse
    from modbench.reports.load import load

    if margin is not None and not 0 < margin < 1:
        raise UsageError(f"--margin {margin:g} is outside (0, 1): it is a share, such as 0.02.")
    if margin is not None and fail_on:
        raise UsageError(
            "--margin and --fail-on do not go together: each check has a limit of its own. Write --fail-on slower:2%."
        )
    checks = parse(fail_on) if fail_on else None
    found = judge(load(run_folder), load(against), margin, history or (), checks)
    if as_json:
        say_json(found.as_dict(lenient=lenient), allow_nan=False)
    else:
        say("\n".join(gate_words.as_text(found)))
    code = found.exit_code(lenient=lenient)
    if code == IncompleteError.exit_code:
        raise IncompleteError(str(found.incomplete))
    if code == UnfitError.exit_code and found.unfit:
        raise UnfitError(found.unfit)
    raise typer.Exit(code)
