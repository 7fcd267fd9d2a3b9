"""`modbench gate`: a run that was made, checked against an earlier one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from modbench.commands._app import command
from modbench.commands._flags import FormatFlag, JsonFlag, VerboseFlag, checked_format, checked_margin, flag, runs
from modbench.commands._output import add_summary, chosen_run, say, say_json
from modbench.harness.core.errors import IncompleteError, UsageError

if TYPE_CHECKING:
    from modbench.reports.questions.gate.fail_on import FailOn


@command()
def gate(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="BASE NEW", help="An earlier run, and a later one of its suite.", autocompletion=runs),
    ] = None,
    margin: Annotated[
        float | None,
        flag(
            "--margin",
            "SHARE",
            "Equivalence margin: the largest change that does not matter, 0.02 or 2%; default the suite's.",
            parser=str,
            callback=checked_margin,
        ),
    ] = None,
    allow_inconclusive: Annotated[
        bool,
        typer.Option("--allow-inconclusive", help="Exit 0 where it is inconclusive, unless nothing was compared."),
    ] = False,
    fail_on: Annotated[
        list[str] | None,
        flag(
            "--fail-on",
            "CHECK:LIMIT",
            "flops:0%,larger:1%,breaks,syncs,labels,loss:0.5%,accuracy:1%. Default: all but times.",
        ),
    ] = None,
    style: FormatFlag = "text",
    verbose: VerboseFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Fail if a run is worse than its base, times aside.

    Exit code 1: something got worse. 5: inconclusive.
    """
    from modbench.reports.markup import text
    from modbench.reports.questions.gate.fail_on import parse

    checked_format(style, as_json=as_json)
    if margin is not None and fail_on:
        raise UsageError(
            "--margin and --fail-on do not go together: each check has a limit of its own. Write --fail-on larger:2%."
        )
    checks = parse(fail_on) if fail_on else None
    if words is None or len(words) != 2:
        raise UsageError("a gate takes an earlier run and a later one: `modbench gate BASE NEW`.")
    if checks is not None:
        _refuse_times(checks)
    for folder in words:
        chosen_run(folder)
    from modbench.reports.questions.gate import gate
    from modbench.reports.tables.load import load
    from modbench.reports.terminal.gate import annotated, as_text, summary

    base, new = words
    found = gate.gate(load(base), load(new), margin, checks)
    code = found.exit_code(allow_inconclusive=allow_inconclusive)
    if as_json:
        say_json(found.as_dict(allow_inconclusive=allow_inconclusive), allow_nan=False)
    elif style == "github":
        say("\n".join(annotated(found)))
        add_summary(lambda most: summary(found, base, new, most), f"modbench gate: {found.verdict}")
    else:
        say("\n".join(as_text(found, text.width(), code, verbose=verbose)))
    if code == IncompleteError.exit_code:
        raise IncompleteError(str(found.incomplete))
    raise typer.Exit(code)


def _refuse_times(checks: FailOn) -> None:
    """Refuse checks of times and energy of two runs that were made.

    Raises:
        UsageError: if there is one.
    """
    from modbench.reports.markup.number_format import plain
    from modbench.reports.questions.gate.fail_on import ALTERNATED, CHECKS, written

    for word, limit in checks.limits.items():
        if CHECKS[word].tier == "timed":
            asked = plain(written(word, limit))
            instead = f"`modbench compare` prints how it changed; modbench ab measures no {word}."
            if word in ALTERNATED:
                instead = f"modbench ab revisions BASE NEW SUITE --model FILE.py:build --fail-on {asked}."
            raise UsageError(
                f"--fail-on {asked} needs processes that take turns, as those of two runs did not: {instead}"
            )
