"""`modbench ab`: two sides that take turns, or two files of values: is the second one slower, or worse?"""

from __future__ import annotations

from typing import Annotated

import typer

from modbench.extend import SuiteName, app, command, list_in, listed, with_flags
from modbench.plugins.ab.flags import AbFlags, StoredFlags, SuiteFlags, compare, tell

ab = typer.Typer(
    name="ab",
    help="Compare two revisions, builds or commands in turn.",
    no_args_is_help=True,
    subcommand_metavar="KIND",
    rich_markup_mode=None,
)
app.add_typer(ab)
list_in("Decide", "ab")


@command("commands", plugin=False, on=ab)
@with_flags(kind=AbFlags)
def ab_commands(
    base: Annotated[str, typer.Argument(metavar="BASE", help="A command in quotes: 'python old.py'.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The one that is compared with it.")],
    flags: AbFlags,
    *,
    shell: Annotated[bool, typer.Option("--shell", help="Run both by /bin/sh; default without a shell.")] = False,
    timeout: Annotated[
        str | None,
        typer.Option("--timeout", metavar="DURATION", help="Longest time of one process; then that side fails."),
    ] = None,
    value: Annotated[
        list[str] | None,
        typer.Option(
            "--value", metavar="NAME=REGEX", help="Compare a number that is printed, such as 'loss=loss ([0-9.]+)'."
        ),
    ] = None,
    jsonl: Annotated[
        list[str] | None,
        typer.Option("--jsonl", metavar="FILE:KEY", help="Compare a number in JSON lines that are written."),
    ] = None,
    better: Annotated[
        list[str] | None,
        typer.Option("--better", metavar="[NAME=]WAY", help="lower or higher; a name such as val_loss says it itself."),
    ] = None,
    each: Annotated[
        bool, typer.Option("--each", help="Of each run the mean of all numbers found; default the last.")
    ] = False,
    target: Annotated[
        str | None,
        typer.Option("--target", metavar="NAME<=NUMBER", help="Compare the time until a curve reaches this."),
    ] = None,
    curve: Annotated[
        str | None,
        typer.Option("--curve", metavar="REGEX", help="The curve that is printed: groups for step and value."),
    ] = None,
) -> None:
    """Two commands, by wall time, CPU time and memory, and by values that they print.

    {seed} in both commands is replaced by the number of the pair of runs.

    Standard input is empty. A process that leaves its group, as by setsid, is not covered: it is neither counted nor ended.

    Exit code 1: --fail-on fails, or NEW fails. 2: BASE fails. 5: inconclusive.
    """
    from modbench.plugins.ab.printed import reads
    from modbench.plugins.ab.two_commands import commands

    read = reads(value or (), jsonl or (), better or (), target, curve, each=each)
    compare(commands((base, new), flags, read, shell=shell, timeout=timeout), flags)


@command("values", plugin=False, on=ab)
@with_flags(kind=StoredFlags)
def ab_values(
    base: Annotated[str, typer.Argument(metavar="BASE", help="A file, a folder of them, or a pattern in quotes.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The one that is compared with it.")],
    flags: StoredFlags,
    *,
    value: Annotated[
        list[str] | None,
        typer.Option("--value", metavar="COLUMN", help="A column to compare; default all that are known."),
    ] = None,
    better: Annotated[
        list[str] | None,
        typer.Option(
            "--better", metavar="[COLUMN=]WAY", help="lower or higher; a name such as val_loss says it itself."
        ),
    ] = None,
    pair: Annotated[
        str | None,
        typer.Option("--pair", metavar="COLUMN", help="Compare runs in pairs with the same value here, such as seed."),
    ] = None,
) -> None:
    """Values that other tools stored: CSV, JSON lines, exports of W&B, TensorBoard, vLLM, GuideLLM, lm-evaluation-harness.

    A row, or a file, is a run. Times have an effect and no verdict, since the runs did not take turns.

    Exit code 1: --fail-on fails. 5: inconclusive.
    """
    from modbench.plugins.ab.stored_values import compared

    result = compared(base, new, value or (), better or (), pair, flags)
    code = result.exit_code(allow_inconclusive=flags.allow_inconclusive)
    tell(result, flags, code)
    raise typer.Exit(code)


@command("revisions", on=ab)
@with_flags(kind=SuiteFlags)
def ab_revisions(
    base: Annotated[str, typer.Argument(metavar="BASE", help="A revision of git: a branch, a tag or a commit.")],
    new: Annotated[
        str, typer.Argument(metavar="NEW", help="The one that is compared with it; `.` is the files as they are.")
    ],
    suite: SuiteName,
    *,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="LIST", help="FILE.py:build, taken from both revisions of its repository."),
    ] = None,
    own: Annotated[
        bool, typer.Option("--self", help="Compare revisions of modbench itself, by the models of the suite.")
    ] = False,
    flags: SuiteFlags,
) -> None:
    """Two revisions of your model, timed on a suite.

    Either revision may be the path of a Python interpreter instead, with packages of its own.

    Exit code 1: --fail-on fails, or NEW does not run. 2: BASE does not run. 5: inconclusive.
    """
    from modbench.plugins.ab import suites

    compare(suites.revisions((base, new), suite, listed("--model", model, str), flags, own=own), flags)


@command("builds", on=ab)
@with_flags(kind=SuiteFlags)
def ab_builds(
    base: Annotated[str, typer.Argument(metavar="BASE", help="A build of a model, FILE.py:build(OPTION=VALUE).")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The one that is compared with it.")],
    suite: SuiteName,
    flags: SuiteFlags,
) -> None:
    """Two builds of your model, timed on a suite.

    Exit code 1: --fail-on fails, or NEW does not run. 2: BASE does not run. 5: inconclusive.
    """
    from modbench.plugins.ab import suites

    compare(suites.builds((base, new), suite, flags), flags)
