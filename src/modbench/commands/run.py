"""`modbench run` and `modbench resume`."""

from __future__ import annotations

import functools
import sys
from typing import Annotated

import typer

from modbench.commands._app import command
from modbench.commands._flags import (
    Flags,
    JsonFlag,
    QuietFlag,
    SelectFlag,
    SuiteName,
    TimeoutFlag,
    VerboseFlag,
    flag,
    launchers,
    runs,
    with_flags,
)
from modbench.commands._output import chosen_run, print_summary, say

LauncherOptions = Annotated[
    list[str] | None,
    typer.Argument(metavar="[-- OPTIONS]", help="Options of the launcher, after `--`: for slurm those of sbatch."),
]

ProfileFlag = Annotated[
    str | None,
    flag("--launcher-profile", "FILE", "File of launcher options, one per line; options after `--` override it."),
]


@command()
@with_flags()
def run(
    suite: SuiteName,
    *,
    flags: Flags,
    select: SelectFlag = None,
    out: Annotated[str | None, flag("-o --out", "DIR", "Run folder; default runs/SUITE-DATE-N.")] = None,
    timeout: TimeoutFlag = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 if a cell failed.")] = False,
    launcher: Annotated[str, flag("--launcher", "NAME", "What starts the work: local or slurm.", launchers)] = "local",
    launcher_profile: ProfileFlag = None,
    options: LauncherOptions = None,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Measure a suite and write its report."""
    from modbench import api
    from modbench.harness.core.units import parse_duration
    from modbench.harness.execution import stopping

    overrides = flags.overrides()
    timeout_s = parse_duration(timeout, "--timeout") if timeout is not None else None
    stopping.interrupt_on_end()
    plan, folder, words, gap = api.prepare(
        suite,
        overrides,
        select,
        out=out,
        launcher=launcher,
        launcher_profile=launcher_profile,
        options=options or (),
    )
    # They import pandas: what does not exist is refused before.
    from modbench.progress_bar import progress_for
    from modbench.reports.questions import machine_check
    from modbench.reports.terminal import printed_run

    if gap is not None:
        print(gap, file=sys.stderr, flush=True)
    if not as_json and not quiet:
        say(printed_run.opening(plan), sys.stderr)
    finished = api.run(
        plan,
        folder,
        command=["modbench", *sys.argv[1:]],
        progress=progress_for(folder.path, quiet=quiet),
        launcher=launcher,
        options=words,
        timeout_s=timeout_s,
    )
    print_summary(finished, as_json=as_json, quiet=quiet, verbose=verbose)
    machine_check.check_measured(finished.loaded, finished.report)
    if strict and not finished.loaded.failed.empty:
        raise typer.Exit(1)


@command()
def resume(
    run_folder: Annotated[
        str, typer.Argument(metavar="RUN", help="The folder of an interrupted run.", autocompletion=runs)
    ],
    options: LauncherOptions = None,
    *,
    timeout: TimeoutFlag = None,
    launcher_profile: ProfileFlag = None,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Also repeat failed jobs, not only missing ones and those that died."),
    ] = False,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Take over from a runner on another host that is dead.")
    ] = False,
    allow_changed: Annotated[
        bool, typer.Option("--allow-changed", help="Go on though files of yours changed since results were made.")
    ] = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Continue an interrupted run.

    Finished jobs are kept, and training continues from its checkpoint.
    """
    from modbench.harness.core.units import parse_duration

    timeout_s = parse_duration(timeout, "--timeout") if timeout is not None else None
    chosen_run(run_folder)
    from modbench import api
    from modbench.harness.execution import stopping
    from modbench.harness.execution.launcher import read_profile
    from modbench.progress_bar import progress_for
    from modbench.reports.questions import machine_check

    if launcher_profile:
        options = [*read_profile(launcher_profile), *(options or ())]
    stopping.interrupt_on_end()
    finished = api.resume(
        run_folder,
        functools.partial(progress_for, quiet=quiet),
        retry_failed=retry_failed,
        take_over=take_over,
        options=options,
        allow_changed=allow_changed,
        timeout_s=timeout_s,
    )
    print_summary(finished, as_json=as_json, quiet=quiet, verbose=verbose)
    machine_check.check_measured(finished.loaded, finished.report)
