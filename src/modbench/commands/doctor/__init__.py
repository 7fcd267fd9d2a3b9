"""`modbench doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from modbench.commands._app import command
from modbench.commands._flags import DeviceFlag, JsonFlag, flag
from modbench.commands._output import say, say_json
from modbench.harness.core.errors import UnfitError


@command()
def doctor(
    comparisons: Annotated[
        int | None, flag("-n --comparisons", "N", "A/A comparisons to make now; default 20, on a GPU 5.")
    ] = None,
    threads: Annotated[int, flag("--threads", "N", "CPU threads of a worker.")] = 1,
    device: DeviceFlag = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget earlier checks of this machine.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Check if this machine can measure small differences.

    Compares identical models, for about a minute; the results of all calls are pooled. On a GPU it also measures the peak of
    the card, and whether its clocks are locked.
    """
    from modbench import api
    from modbench.commands.doctor import checkup
    from modbench.commands.doctor.aa_comparisons import COMPARISONS
    from modbench.harness.machine import accelerators
    from modbench.progress_bar import Counter

    accelerators.check(device)
    where = api.device_named(device)
    number = COMPARISONS[where] if comparisons is None else comparisons
    progress = Counter(checkup.processes(number, where), "processes")
    found = checkup.check(number, where, threads, progress, fresh=fresh)
    if as_json:
        say_json(checkup.as_json(found))
    else:
        say(checkup.as_text(found))
    if found.certificate.verdict == "unfit":
        raise UnfitError(f"this machine is unfit to compare times. {found.certificate.in_words()}.")
