"""`modbench plan`."""

from __future__ import annotations

import json

from modbench.commands._app import app
from modbench.commands._flags import Flags, JsonFlag, SelectFlag, SuiteName, with_flags


@app.command()
@with_flags()
def plan(suite: SuiteName, *, flags: Flags, select: SelectFlag = None, as_json: JsonFlag = False) -> None:
    """Show the cases of a suite with predicted FLOPs, memory and time; run nothing."""
    from modbench import api
    from modbench.tools import plan

    forecast = plan.forecast(api.make_plan(suite, flags.overrides(), select, only_plan=True))
    print(json.dumps(forecast, indent=1) if as_json else plan.as_text(forecast))
