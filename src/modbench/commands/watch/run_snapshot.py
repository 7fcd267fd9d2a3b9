"""A snapshot of a run from its folder: units, their state, failures; and how each file is read. No torch."""

from __future__ import annotations

import datetime as dt
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modbench.harness.core.safe_paths import read_plain
from modbench.harness.results.reading import load

_WALL = re.compile(rb'"wall_s":\s*([0-9.eE+-]+)')
_TROUBLE = (re.compile(rb'"status":\s*"failed"'), re.compile(rb'"died":\s*\{'))


@dataclass(frozen=True)
class Failure:
    """Cells of a unit that failed for one reason."""

    unit: str
    case: str
    metrics: tuple[str, ...]
    reason: str
    log: str | None


@dataclass(frozen=True)
class Running:
    """A unit that runs, its last line of progress (`said`), and the seconds since then."""

    unit: str
    said: str
    silent_s: float


@dataclass(frozen=True)
class Group:
    """Units of one pass by state: `done` are those without a failed cell, `failed` those with one."""

    name: str
    done: int
    failed: int
    running: int
    waiting: int

    @property
    def units(self) -> int:
        """All of them."""
        return self.done + self.failed + self.running + self.waiting


@dataclass(frozen=True)
class RunSnapshot:
    """A run as its folder shows it.

    Attributes:
        run: the folder, as it was named.
        suite: name of the suite.
        effort: its effort.
        device: `cpu` or `cuda`.
        machine: the processor and the machine's fingerprint.
        command: the command line.
        launcher: what starts the units.
        started: start time, UTC, ISO 8601.
        runner: who runs it, in words.
        state: `finished`, `running` or `stopped` (no runner is alive).
        steal: whether its runner, on another host, only seems dead.
        elapsed_s: wall time of the run, or since its runner took the folder; None where that is not known.
        left_s: predicted seconds left; None where nothing is known.
        most_s: the same if everything is asked for that may be; None where nothing is known.
        more: whether a pilot may ask for more launches, a search for more cells, or a confirmation for more runs.
        groups: units by pass, in the plan's order.
        running: units that run.
        failures: what failed so far.
        decisions: what pilots, searches and confirmations decided, in words.
    """

    run: str
    suite: str
    effort: str
    device: str
    machine: str
    command: tuple[str, ...]
    launcher: str
    started: str
    runner: str
    state: str
    steal: bool
    elapsed_s: float | None
    left_s: float | None
    most_s: float | None
    more: bool
    groups: tuple[Group, ...]
    running: tuple[Running, ...]
    failures: tuple[Failure, ...]
    decisions: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every unit has a record and the run has ended."""
        return self.state == "finished"

    @property
    def next_step(self) -> str | None:
        """The command that continues a run whose runner is gone; None if there is nothing to continue."""
        if self.state != "stopped":
            return None
        if self.command[1:2] == ("train",):
            return f"repeat its command with -o {self.run}"
        return f"modbench resume {self.run}{' --steal' * self.steal}"


@dataclass
class Unit:
    """A unit as planned."""

    made_in: str
    series: str
    launch: int
    flops: float
    row: str = ""


@dataclass
class UnitResult:
    """The part of a record that is shown, and the identity of its file."""

    file: int
    wall_s: float | None
    troubles: list[tuple[str, tuple[str, ...], str]] = field(default_factory=list)


def parse_unit(body: dict[str, Any]) -> Unit:
    """A unit of a plan as run.json holds it."""
    flops = float(body.get("flops") or 0.0)
    series, row = (str(body.get(name) or "") for name in ("series", "row"))
    return Unit(str(body["made_in"]), series, int(body.get("launch") or 0), flops, row)


def optional_shares(units: Mapping[str, Unit], may: set[str], roles: int) -> dict[str, float]:
    """The share of each optional unit that can run: 1, but a confirmation trains no more cases than it has roles.

    Args:
        units: all units of the plan, by name.
        may: names of the optional units that no rule has requested yet.
        roles: roles of a confirmation; its units are the only ones of a row without a series.
    """
    found, rows = dict.fromkeys(may, 1.0), dict[str, list[str]]()
    for name, unit in units.items():
        if unit.row and not unit.series:
            rows.setdefault(unit.row, []).append(name)
    for names in rows.values():
        rest = [name for name in names if name in may]
        cases = len({name.rpartition("-seed")[0] for name in names})
        most = min(1.0, roles / cases) * len(names) - (len(names) - len(rest))
        found |= dict.fromkeys(rest, max(0.0, most) / max(1, len(rest)))
    return found


def plain_files(folder: Path, *, deep: bool = True) -> list[os.DirEntry[str]]:
    """Finished plain files of a folder and its subfolders; empty if there are none."""
    try:
        with os.scandir(folder) as found:
            entries = [each for each in found if each.name[0] != "."]
    except OSError:
        return []
    direct = [each for each in entries if each.is_file(follow_symlinks=False)]
    subfolders = [each for each in entries if deep and each.is_dir(follow_symlinks=False)]
    return direct + [file for each in subfolders for file in plain_files(Path(each.path), deep=False)]


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        UsageError: if it is none.
    """
    return load(file, read_plain(file))


def finished_wall_s(file: Path) -> float | None:
    """Wall time of a finished run; None if it has not finished."""
    try:
        return float(read_json(file)["wall_s"])
    except (OSError, KeyError, TypeError, ValueError):
        return None


def timestamp(moment: str) -> float | None:
    """Seconds since 1970 of a moment in ISO 8601; None if the text is no moment."""
    try:
        return dt.datetime.fromisoformat(moment).timestamp()
    except ValueError:
        return None


def unit_result(record: bytes, inode: int) -> UnitResult:
    """The part of a record that is shown. Only a record with a failure is parsed."""
    found = _WALL.search(record)
    try:
        wall = float(found[1]) if found else math.nan
    except ValueError:
        wall = math.nan
    wall_s = wall if math.isfinite(wall) and wall >= 0 else None
    if not any(each.search(record) for each in _TROUBLE):
        return UnitResult(inode, wall_s)
    try:
        body = load(Path("record"), record)
        by_cause: dict[tuple[str, str], list[str]] = {}
        for outcome in body["outcomes"]:
            if outcome["status"] == "failed":
                by_cause.setdefault((str(outcome["case"]), str(outcome["reason"])), []).append(str(outcome["metric"]))
        troubles = [(case, tuple(metrics), reason) for (case, reason), metrics in by_cause.items()]
        if not troubles and body.get("died"):
            troubles = [("", (), str(body["died"]["reason"]))]
    except (ValueError, KeyError, TypeError) as error:
        troubles = [("", (), f"its record is damaged: {type(error).__name__}")]
    return UnitResult(inode, wall_s, troubles)
