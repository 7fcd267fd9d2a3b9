"""`modbench list`."""

from __future__ import annotations

from typing import Annotated

import typer

from modbench.commands._app import app
from modbench.commands._complete import rooms
from modbench.commands._flags import JsonFlag
from modbench.commands._output import say, say_json
from modbench.harness.core.errors import unknown


@app.command("list")
def list_(
    what: Annotated[
        str,
        typer.Argument(
            metavar="[WHAT]",
            help="models, routers, metrics, passes, launchers, suites, tasks, corpora, panels, formats, doubts or sinks.",
            autocompletion=rooms,
        ),
    ] = "",
    as_json: JsonFlag = False,
) -> None:
    """List models, metrics, suites and everything else that can be chosen."""
    from modbench.harness.core import catalogue

    if what and what not in catalogue.ROOMS:
        raise unknown("list", what, catalogue.ROOMS)
    rooms = {room: _about(room) for room in ([what] if what else catalogue.ROOMS)}
    if as_json:
        say_json(rooms)
        return
    # Padded by hand: importing rich would add a third to the time of this command.
    width = max((len(name) for names in rooms.values() for name in names), default=0)
    for i, (room, names) in enumerate(rooms.items()):
        say(("\n" if i else "") + room + ("" if names else " (none yet)"))
        for name, about in names.items():
            say(f"  {name:<{width}}  {about}")


def _about(room: str) -> dict[str, str]:
    """Name to description, for everything in a room."""
    from modbench.harness.core import catalogue

    if room == "metrics":
        return {key: metric.about for key, metric in catalogue.metrics().items()}
    return {name: entry.about for name, entry in catalogue.entries(room).items()}
