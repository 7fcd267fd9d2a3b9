"""`modbench cost`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from modbench.commands._app import app
from modbench.commands._flags import BatchFlag, CapacityFlag, DtypeFlag, JsonFlag, SeqLenFlag, SetFlag, listed


@app.command()
def cost(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A catalogue model, or FILE.py:build.")],
    settings: SetFlag = None,
    capacity: CapacityFlag = None,
    seq_len: SeqLenFlag = None,
    batch_size: BatchFlag = None,
    dtype: DtypeFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Tell what a model of any size costs: parameters, FLOPs, bytes, memory. Nothing is allocated or run."""
    from modbench.tools.cost import Asked, as_text, costs

    told = costs(
        Asked(
            model,
            tuple(settings or ()),
            listed("--capacity", capacity, float),
            listed("--seq-len", seq_len, int) or (512,),
            listed("--batch-size", batch_size, int) or (1,),
            listed("--dtype", dtype, str) or ("fp32",),
        )
    )
    print(json.dumps(told, indent=1) if as_json else as_text(told))
