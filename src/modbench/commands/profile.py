"""`modbench profile`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from modbench.commands._app import app
from modbench.commands._flags import (
    BatchFlag,
    CapacityFlag,
    DeviceFlag,
    DtypeFlag,
    JsonFlag,
    ModelFlag,
    SelectFlag,
    SeqLenFlag,
    SetFlag,
    SuiteName,
    overrides,
)
from modbench.harness.core.errors import unknown


@app.command()
def profile(
    suite: SuiteName,
    select: SelectFlag = None,
    workload: Annotated[str, typer.Option("--workload", help="forward or train_step.")] = "forward",
    model: ModelFlag = None,
    capacity: CapacityFlag = None,
    seq_len: SeqLenFlag = None,
    batch_size: BatchFlag = None,
    dtype: DtypeFlag = None,
    device: DeviceFlag = None,
    settings: SetFlag = None,
    out: Annotated[
        str | None, typer.Option("-o", "--out", metavar="DIR", help="Folder; default runs/profile-SUITE-DATE-N.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Open up one case: time, FLOPs, bytes and memory by module and component, and a trace for Perfetto."""
    from modbench import api
    from modbench.harness.results import run_folder
    from modbench.progress import counting
    from modbench.tools import profile as profiles

    if workload not in profiles.WORKLOADS:
        raise unknown("workload", workload, profiles.WORKLOADS)
    flags = overrides(model, capacity, seq_len, batch_size, dtype, device, False, None, None, None, settings)
    resolved = api.make_plan(suite, flags)
    profiles.choose(resolved, select)  # before a folder is made
    folder = run_folder.create(out, f"profile-{resolved.suite.name}")
    done = profiles.profile(resolved, select, workload, folder, counting(1, "profile"))
    print(json.dumps(profiles.as_json(done), indent=1) if as_json else profiles.as_text(done))
