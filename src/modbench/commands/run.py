"""`modbench run` and `modbench resume`."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from modbench.commands._app import app
from modbench.commands._flags import Flags, JsonFlag, SelectFlag, SuiteName, with_flags
from modbench.commands._output import print_summary


@app.command()
@with_flags()
def run(
    suite: SuiteName,
    *,
    flags: Flags,
    select: SelectFlag = None,
    out: Annotated[
        str | None, typer.Option("-o", "--out", metavar="DIR", help="Run folder; default runs/SUITE-DATE-N.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 if a cell failed.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Measure a suite and write its report."""
    from modbench import api
    from modbench.harness.machine import accelerators
    from modbench.progress import progress_for
    from modbench.reports import summary

    overrides = flags.overrides()
    # A scheduler's SIGTERM is handled like Ctrl-C, so that workers end too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    plan = api.make_plan(suite, overrides, select)
    folder = api.new_folder(plan, out)
    if (gap := accelerators.not_measured(plan.device)) is not None:
        print(gap, file=sys.stderr, flush=True)
    if not as_json:
        print(summary.opening(plan), flush=True)
    finished = api.run(plan, folder, command=["modbench", *sys.argv[1:]], progress=progress_for(plan, folder))
    print_summary(finished, as_json=as_json)
    if strict and not finished.loaded.failed.empty:
        raise typer.Exit(1)


@app.command()
def resume(
    run_folder: Annotated[str, typer.Argument(metavar="RUN", help="The folder of an interrupted run.")],
    as_json: JsonFlag = False,
) -> None:
    """Continue an interrupted run: finished units are kept, training continues from its checkpoint."""
    from modbench import api
    from modbench.progress import progress_for

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print_summary(api.resume(run_folder, progress_for), as_json=as_json)
