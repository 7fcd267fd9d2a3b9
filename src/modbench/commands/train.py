"""`modbench train`."""

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
    JsonFlag,
    SeedsFlag,
    SeqLenFlag,
    SetFlag,
    overrides,
)


@app.command()
def train(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A catalogue model, or FILE.py:build.")],
    capacity: CapacityFlag = None,
    seq_len: SeqLenFlag = None,
    batch_size: BatchFlag = None,
    dtype: DtypeFlag = None,
    device: DeviceFlag = None,
    compile_: CompileFlag = False,
    seeds: SeedsFlag = None,
    corpus: CorpusFlag = None,
    settings: SetFlag = None,
    out: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--out",
            metavar="DIR",
            help="Folder; default runs/train-DATE-N. An interrupted one is gone on with.",
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Train one model and evaluate it; under torchrun on as many ranks as it starts."""
    from modbench.reports import summary
    from modbench.tools import train as training

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    flags = overrides(None, capacity, seq_len, batch_size, dtype, device, compile_, seeds, corpus, None, settings)
    made = training.run(training.make_plan(model, flags), out, ["modbench", *sys.argv[1:]])
    if made is None:
        return
    print(
        json.dumps(summary.as_json(made.loaded, made.report, made.wall_s), indent=1)
        if as_json
        else training.as_text(made)
    )
