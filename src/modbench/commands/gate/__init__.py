"""`modbench gate`: of two runs that were made, or of two revisions or builds that are measured in turn."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modbench.commands._app import command
from modbench.commands._flags import (
    JsonFlag,
    PairedFlags,
    PairedOptionFlag,
    PairedOutFlag,
    PairedSetFlag,
    PairedTimeoutFlag,
    SelectFlag,
    VerboseFlag,
    checked_margin,
    listed,
    refuse,
    runs,
)
from modbench.commands._output import chosen_run, say, say_json
from modbench.harness.core.errors import IncompleteError, UnfitError, UsageError, unknown

if TYPE_CHECKING:
    from modbench.reports.questions.gate.fail_on import FailOn
    from modbench.reports.questions.gate.gate import Gate

FORMATS = ("text", "github")


@command()
def gate(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN", help="The run folder to check; with --paired BASE HEAD SUITE.", autocompletion=runs
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="BASE", help="An earlier run of the same suite.", autocompletion=runs),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            "--margin",
            metavar="SHARE",
            callback=checked_margin,
            help="Largest change for the worse that does not matter, as a share; default the suite's.",
        ),
    ] = None,
    lenient: Annotated[
        bool,
        typer.Option("--lenient", help="Exit 0 where the evidence does not decide, unless nothing was compared."),
    ] = False,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            metavar="CHECK:LIMIT",
            help="flops:0%,larger:1%,breaks,syncs,labels,loss:0.5%,accuracy:1%; with --paired slower:2% or cpu:2%. "
            "Default: all but times; with --paired slower.",
        ),
    ] = None,
    style: Annotated[
        str,
        typer.Option(
            "--format", metavar="text|github", help="github: annotations, and a job summary in $GITHUB_STEP_SUMMARY."
        ),
    ] = "text",
    paired: Annotated[
        bool,
        typer.Option("--paired", help="Measure both sides now, in turn, until they are told apart or shown alike."),
    ] = False,
    budget: Annotated[
        str | None,
        typer.Option("--budget", metavar="DURATION", help="With --paired: longest time to measure; default 10min."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="LIST",
            help="With --paired: FILE.py:build of both revisions; without revisions two builds.",
        ),
    ] = None,
    option: PairedOptionFlag = None,
    settings: PairedSetFlag = None,
    seq_len: Annotated[
        list[str] | None, typer.Option("--seq-len", metavar="LIST", help="With --paired: only these lengths.")
    ] = None,
    select: SelectFlag = None,
    timeout: PairedTimeoutFlag = None,
    out: PairedOutFlag = None,
    verbose: VerboseFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Fail if a run, or a revision, is worse than its base.

    gate RUN --against BASE: two runs that were made, by everything but times

    gate --paired BASE HEAD SUITE: two revisions, measured in turn until it is decided

    gate --paired SUITE --model OLD --model NEW: two builds, in the same processes

    Exit code 1: something got worse. 5: that can neither be shown nor excluded.
    """
    from modbench.reports.questions.gate.fail_on import parse

    words = words or []  # what is missing is said below, for each of the three ways
    if style not in FORMATS:
        raise unknown("--format", style, FORMATS)
    if style == "github" and as_json:
        raise UsageError("--format github and --json both print to standard output. Choose one.")
    if margin is not None and fail_on:
        raise UsageError(
            "--margin and --fail-on do not go together: each check has a limit of its own. Write --fail-on larger:2%."
        )
    checks = parse(fail_on) if fail_on else None
    only_paired = {
        "--budget": budget,
        "--model": model,
        "--option": option,
        "--set": settings,
        "--seq-len": seq_len,
        "-k": select,
    }
    if paired:
        refuse({"--against": against}, "two runs that were made")
        from modbench.commands.gate.paired import gate_paired

        models, lengths = listed("--model", model, str), listed("--seq-len", seq_len, int)
        given = PairedFlags(models, settings or (), lengths, option or (), select, timeout, out)
        found = gate_paired(words, checks, margin, given, budget)
        run_folder, against = (words[1], words[0]) if len(words) > 1 else (models[1], models[0])
    else:
        refuse(only_paired | {"--timeout": timeout, "--out": out}, "--paired")
        if len(words) != 1 or against is None:
            raise UsageError(
                "a gate takes the new run and the old one, `gate RUN --against BASE`; or `gate --paired BASE HEAD SUITE`."
            )
        if checks is not None:
            _refuse_times(checks)
        (run_folder,) = words
        for folder in (run_folder, against):
            chosen_run(folder)
        from modbench.reports.questions.gate.gate import gate as judge
        from modbench.reports.tables.load import load

        found = judge(load(run_folder), load(against), margin, checks)
    _tell(found, run_folder, against, style="json" if as_json else style, lenient=lenient, verbose=verbose)
    code = found.exit_code(lenient=lenient)
    if code == IncompleteError.exit_code:
        raise IncompleteError(str(found.incomplete))
    if code == UnfitError.exit_code and found.unfit:
        raise UnfitError(found.unfit)
    raise typer.Exit(code)


def _refuse_times(checks: FailOn) -> None:
    """Refuse checks of times and energy of two runs that were made.

    Raises:
        UsageError: if there is one.
    """
    from modbench.reports.questions.gate.fail_on import PAIRED, written
    from modbench.reports.writers.number_format import plain

    word = next(iter(checks.timed), None)
    if word is None:
        return
    asked = plain(written(word, checks.limits[word]))
    if word in PAIRED:
        raise UsageError(
            f"--fail-on {asked} needs processes that take turns, as those of two runs did not: "
            f"gate --paired BASE HEAD SUITE --fail-on {asked}."
        )
    raise UsageError(
        f"--fail-on {asked}: two runs took no turns, and --paired measures no {word}, so that no gate judges it. "
        "`modbench compare` prints how it changed."
    )


def _tell(found: Gate, run_folder: str, against: str, *, style: str, lenient: bool, verbose: bool) -> None:
    """Print the result."""
    from modbench.reports.terminal.gate import as_text
    from modbench.reports.writers import text

    if style == "json":
        say_json(found.as_dict(lenient=lenient), allow_nan=False)
    elif style == "github":
        _for_github(found, run_folder, against)
    else:
        lines = as_text(found, verbose=verbose)
        say("\n".join(lines if verbose else text.wrapped(lines, text.width(), indent="  ")))


def _for_github(found: Gate, run_folder: str, against: str) -> None:
    """Print annotations, and write the job summary to the file that GitHub names, or print it where it names none."""
    from modbench.reports.terminal.gate import annotated, summary
    from modbench.reports.writers import markdown

    for line in annotated(found):
        say(line)
    named = os.environ.get(markdown.VARIABLE)
    if not named:
        say(f"{markdown.VARIABLE} is not set, so the job summary follows.\n")
        say(summary(found, run_folder, against))
        return
    file = Path(named)
    text = summary(found, run_folder, against, markdown.room(file))
    with file.open("a", encoding="utf-8") as open_file:
        open_file.write(text)
    full = "" if text else f", which is full: GitHub takes {markdown.MOST_BYTES:,} bytes of a step"
    say(f"modbench gate: {found.verdict}; the job summary was added to {named}{full}")
