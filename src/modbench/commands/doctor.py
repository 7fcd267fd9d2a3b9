"""`modbench doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from modbench.commands._app import app
from modbench.commands._flags import DeviceFlag, JsonFlag
from modbench.commands._output import say, say_json
from modbench.harness.core.errors import UnfitError


@app.command(include=False)
def doctor(
    comparisons: Annotated[
        int | None,
        typer.Option("-n", "--comparisons", metavar="N", help="A/A comparisons to make now; default 20, on a GPU 5."),
    ] = None,
    threads: Annotated[int, typer.Option("--threads", metavar="N", help="CPU threads of a worker.")] = 1,
    device: DeviceFlag = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget earlier checks of this machine.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Check whether this machine can tell times apart.

    Compares identical models, for about a minute; the results of all calls are pooled. On a GPU it also measures the peak of
    the card, and whether its clocks are locked.
    """
    from modbench import api
    from modbench.harness.execution.doctor import COMPARISONS
    from modbench.harness.machine import accelerators
    from modbench.progress import Counter
    from modbench.tools import doctor

    accelerators.check(device)
    where = api.device_named(device)
    number = COMPARISONS[where] if comparisons is None else comparisons
    progress = Counter(doctor.launches(number, where), "launches")
    checkup = doctor.check(number, where, threads, progress, fresh=fresh)
    if as_json:
        say_json(doctor.as_json(checkup))
    else:
        say(doctor.as_text(checkup))
    if checkup.certificate.verdict == "unfit":
        raise UnfitError(f"this machine is unfit to compare times. {checkup.certificate.in_words()}.")
