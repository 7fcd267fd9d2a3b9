"""`modbench plan`."""

from __future__ import annotations

from modbench.commands._app import command
from modbench.commands._flags import Flags, JsonFlag, SelectFlag, SuiteName, VerboseFlag, with_flags
from modbench.commands._output import say, say_json


@command()
@with_flags()
def plan(
    suite: SuiteName,
    *,
    flags: Flags,
    select: SelectFlag = None,
    verbose: VerboseFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Show what a suite would run, and how long it takes.

    Lists its cases with predicted FLOPs, memory and time. Nothing is measured; a model of yours is built to count it.
    """
    from modbench import api
    from modbench.harness.execution.user_model_costs import UserModelCosts

    costs = UserModelCosts(memory=True)
    resolved = api.make_plan(suite, flags.overrides(), select, only_plan=True, costs=costs)
    # It imports scipy: what does not exist is refused before.
    from modbench.commands.plan.forecast import as_text, forecast

    predicted = forecast(resolved, costs)
    if as_json:
        say_json(predicted)
    else:
        say(as_text(predicted, verbose=verbose))
