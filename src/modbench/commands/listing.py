"""`modbench list`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from modbench.commands._app import app
from modbench.commands._complete import rooms
from modbench.commands._flags import JsonFlag
from modbench.commands._output import say, say_json
from modbench.harness.core.errors import unknown

if TYPE_CHECKING:
    from modbench.harness.core.discovery import Entry


@app.command("list")
def list_(
    what: Annotated[
        str,
        typer.Argument(
            metavar="[WHAT]",
            help="models, routers, metrics, passes, launchers, suites, tasks, corpora, panels, formats, doubts, sinks, sources.",
            autocompletion=rooms,
        ),
    ] = "",
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Also import what you added; exit 1 if some of it cannot be used.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """List models, suites, metrics and other names.

    Your additions are listed with the file or package that they come from.
    """
    from modbench.harness.core import catalogue

    if what and what not in catalogue.ROOMS:
        raise unknown("list", what, catalogue.ROOMS)
    rooms = [what] if what else list(catalogue.ROOMS)
    broken = {room: _broken(room, check=check) for room in rooms}
    found = {room: _usable(room, broken[room]) for room in rooms}
    if as_json:
        say_json(_as_json(found, broken))
    else:
        _say(found, broken)
    if check and any(broken.values()):
        raise typer.Exit(1)


def _broken(room: str, *, check: bool) -> Sequence[Entry]:
    """What the user added and cannot be used."""
    from modbench.harness.core import catalogue, discovery

    if room == "suites" and check:
        from modbench.harness.planning.check_suites import broken_suites

        return broken_suites()
    # Metrics are named inside their files, which import nothing heavy. Other files are read, and imported only to check them.
    if check or room == "metrics":
        return catalogue.broken(room)
    return [entry for entry in discovery.every(room) if entry.problem]


def _usable(room: str, broken: Sequence[Entry]) -> dict[str, tuple[str, Entry]]:
    """Description and file by name."""
    from modbench.harness.core import catalogue

    if room == "metrics":
        files = {key: catalogue.file_of_metric(key) for key in catalogue.metrics()}
        return {
            key: (metric.about, catalogue.find("tasks", metric.task) if metric.task else files[key])
            for key, metric in catalogue.metrics().items()
        }
    wrong = {entry.path for entry in broken}
    return {name: (each.about, each) for name, each in catalogue.entries(room).items() if each.path not in wrong}


def _as_json(found: dict[str, dict[str, tuple[str, Entry]]], broken: dict[str, Sequence[Entry]]) -> dict[str, object]:
    body: dict[str, object] = {
        room: {
            name: {"about": about, "kind": entry.kind, "from": entry.origin, "path": str(entry.path)}
            for name, (about, entry) in entries.items()
        }
        for room, entries in found.items()
    }
    body["broken"] = [
        {"room": room, "name": e.name, "kind": e.kind, "from": e.origin, "path": str(e.path), "reason": e.problem}
        for room, entries in broken.items()
        for e in entries
    ]
    return body


def _say(found: dict[str, dict[str, tuple[str, Entry]]], broken: dict[str, Sequence[Entry]]) -> None:
    # Padded by hand: importing rich would add a third to the time of this command.
    names = [*(name for each in found.values() for name in each), *(e.name for each in broken.values() for e in each)]
    width = max(map(len, names), default=0)
    for i, (room, entries) in enumerate(found.items()):
        say(("\n" if i else "") + room + ("" if entries or broken[room] else " (none yet)"))
        for name, (about, entry) in entries.items():
            say(f"  {name:<{width}}  {about}" + ("" if entry.shipped else f" [{entry.origin}]"))
        for entry in broken[room]:
            say(f"  {entry.name:<{width}}  cannot be used: {entry.problem} [{entry.where}]")
