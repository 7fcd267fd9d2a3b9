"""`modbench cost`."""

from __future__ import annotations

from modbench.commands._app import command
from modbench.commands._flags import Flags, JsonFlag, ModelName, VerboseFlag, with_flags
from modbench.commands._output import say, say_json


@command()
@with_flags("option", "settings", "capacity", "seq_len", "batch_size", "dtype")
def cost(model: ModelName, *, flags: Flags, verbose: VerboseFlag = False, as_json: JsonFlag = False) -> None:
    """Show what a model of any size costs.

    Parameters, FLOPs, bytes and memory follow from closed forms: nothing is allocated or run.
    """
    from modbench.commands.cost.costs import Request, as_text, costs

    rows = costs(Request.from_flags(model, flags.overrides()))
    if as_json:
        say_json(rows)
    else:
        say(as_text(rows, verbose=verbose))
