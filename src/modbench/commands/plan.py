"""`modbench plan`."""

from __future__ import annotations

import json

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
def plan(
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
    as_json: JsonFlag = False,
) -> None:
    """Show the cases of a suite with predicted FLOPs, memory and time; run nothing."""
    from modbench import api
    from modbench.tools import plan

    flags = overrides(model, capacity, seq_len, batch_size, dtype, device, compile_, seeds, corpus, effort, settings)
    told = plan.forecast(api.make_plan(suite, flags, select, only_plan=True))
    print(json.dumps(told, indent=1) if as_json else plan.as_text(told))
