"""`modbench run` and `modbench resume`."""

from __future__ import annotations

import json
import signal
import sys
from typing import Annotated

import typer

from modbench.commands._app import app
from modbench.commands._flags import (
    BatchFlag,
    CapacityFlag,
    CompileFlag,
    CorpusFlag,
    DeviceFlag,
    DtypeFlag,
    EffortFlag,
    JsonFlag,
    ModelFlag,
    SeedsFlag,
    SelectFlag,
    SeqLenFlag,
    SetFlag,
    SuiteName,
    overrides,
)


@app.command()
def run(
    suite: SuiteName,
    model: ModelFlag = None,
    capacity: CapacityFlag = None,
    seq_len: SeqLenFlag = None,
    batch_size: BatchFlag = None,
    dtype: DtypeFlag = None,
    device: DeviceFlag = None,
    compile_: CompileFlag = False,
    seeds: SeedsFlag = None,
    corpus: CorpusFlag = None,
    settings: SetFlag = None,
    effort: EffortFlag = None,
    select: SelectFlag = None,
    out: Annotated[
        str | None, typer.Option("-o", "--out", metavar="DIR", help="Run folder; default runs/SUITE-DATE-N.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 if a cell failed.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Measure a suite and write its report."""
    from modbench import api
    from modbench.progress import progress_for
    from modbench.reports import summary

    flags = overrides(model, capacity, seq_len, batch_size, dtype, device, compile_, seeds, corpus, effort, settings)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's end is an interrupt: workers go too
    resolved = api.make_plan(suite, flags, select)
    folder = api.new_folder(resolved, out)
    if not as_json:
        print(summary.opening(resolved), flush=True)
    finished = api.run(resolved, folder, command=["modbench", *sys.argv[1:]], progress=progress_for(resolved, folder))
    if as_json:
        print(json.dumps(summary.as_json(finished.loaded, finished.report, finished.wall_s), indent=1))
    else:
        print(summary.closing(finished.loaded, finished.report, finished.wall_s))
    if strict and not finished.loaded.failed.empty:
        raise typer.Exit(1)


@app.command()
def resume(
    run_folder: Annotated[str, typer.Argument(metavar="RUN", help="The folder of a run that was interrupted.")],
    as_json: JsonFlag = False,
) -> None:
    """Go on with an interrupted run: what has a record stays, training continues from its checkpoint."""
    from modbench import api
    from modbench.progress import progress_for
    from modbench.reports import summary

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    finished = api.resume(run_folder, progress_for)
    if as_json:
        print(json.dumps(summary.as_json(finished.loaded, finished.report, finished.wall_s), indent=1))
    else:
        print(summary.closing(finished.loaded, finished.report, finished.wall_s))
