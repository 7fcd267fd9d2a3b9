"""`modbench watch`: takes snapshots of a run from its folder. Loads no torch, and writes nothing.

A further snapshot is cheap: it reads only files that are new since the last one, and of a record only what is shown.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from modbench.commands.watch.run_snapshot import (
    Failure,
    Group,
    Running,
    RunSnapshot,
    Unit,
    UnitResult,
    finished_wall_s,
    optional_shares,
    parse_unit,
    plain_files,
    read_json,
    timestamp,
    unit_result,
)
from modbench.harness.core import safe_paths
from modbench.harness.core.errors import UsageError
from modbench.harness.core.ids import slug
from modbench.harness.planning.efforts import EFFORTS, TWO_STAGE
from modbench.harness.results import lock, predicted

# Of a run that left no predictions: FLOP/s, and seconds that a process takes to start.
SPEED, START_S = 60e9, 0.5
# Seconds within which a unit's progress shows that somebody runs it, where no lease does.
FRESH_S = 60.0
# Seconds after its plan was written within which a run may not have taken its folder yet.
BEGUN_S = 10.0
# Seconds by which clocks of two hosts may differ.
CLOCK_SKEW_S = 120.0


class Watcher:
    """Takes snapshots of a run folder.

    Args:
        run: the run folder.

    Raises:
        UsageError: if it is no run folder, or its run.json cannot be read.
    """

    def __init__(self, run: str) -> None:
        self.run, self.path = run, Path(run)
        self.results: dict[str, UnitResult] = {}
        self.decided: dict[str, tuple[int, dict[str, Any]]] = {}
        self.searched: dict[str, tuple[int, dict[str, Any]]] = {}
        self.confirmed: dict[str, tuple[int, dict[str, Any]]] = {}
        self.expected: tuple[int, dict[str, tuple[float, int]]] = (0, {})
        file = self.path / "run.json"
        if not file.is_file():
            raise UsageError(f"{run!r} is not a run folder: it has no run.json. `modbench run` creates one.")
        safe_paths.refuse_links(self.path)
        body = read_json(file)
        try:
            suite, plan = body["plan"]["suite"], body["plan"]
            self.units = {str(each["name"]): parse_unit(each) for each in plan["units"]}
            pilot = not (suite.get("launches") or suite.get("search")) and suite["effort"] in TWO_STAGE
            self.pilot = int(suite.get("pilot_launches") or EFFORTS[suite["effort"]][0]) if pilot else None
            self.words = {"suite": str(suite["name"]), "effort": str(suite["effort"]), "device": str(plan["device"])}
            where = body["environment"]
            self.words["machine"] = ", ".join(str(where[key]) for key in ("cpu", "machine") if where.get(key))
            self.words |= {"launcher": str(body["launcher"]), "started": str(body["started"])}
            self.roles = len((suite.get("confirm") or {}).get("roles", ()))
            self.remote = self.words["launcher"] != "local"  # units run on other machines
            self.command = tuple(str(word) for word in body["command"])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise UsageError(f"{file}: damaged: {type(error).__name__}: {error}.") from error

    def snapshot(self) -> RunSnapshot:
        """The run as it is now.

        Raises:
            UsageError: if the folder is gone.
        """
        if not (self.path / "run.json").is_file():
            raise UsageError(f"{self.run!r} is gone, or is no run folder any more.")
        self._read_records()
        self._read_decisions()
        planned, may = self._requested_units()
        logs = {entry.name: entry for entry in plain_files(self.path / "logs")}
        lease = self._lease()
        since = timestamp(lease.holder.since if lease else self.words["started"])
        alive = lease is not None and lease.state == "alive"
        begun = self._running_units(planned, logs, since)
        # A runner on this machine holds the folder as long as it lives; jobs elsewhere go on without one.
        fresh = self._age() < BEGUN_S or (self.remote and any(each.said and each.silent_s < FRESH_S for each in begun))
        ended = finished_wall_s(self.path / "finished.json")
        complete = ended is not None and all(name in self.results for name in planned) and not alive
        state = "finished" if complete else "running" if alive else _state_without(lease, fresh=fresh)
        running = tuple(begun) if state == "running" else ()
        elapsed = ended if complete else time.time() - since if since is not None and state != "stopped" else None
        return RunSnapshot(
            run=self.run,
            command=self.command,
            runner=_runner(lease, fresh=fresh),
            state=state,
            steal=lease is not None and lease.state == "silent",
            elapsed_s=elapsed,
            left_s=None if complete else self._seconds_left(dict.fromkeys(planned, 1.0), len(begun)),
            most_s=None if complete else self._seconds_left(dict.fromkeys(planned, 1.0) | may, len(begun)),
            more=bool(may) and not complete,
            groups=tuple(self._groups(planned, {each.unit for each in running})),
            running=running,
            failures=tuple(self._failures(planned, logs)),
            decisions=tuple(_decision_text(name, body) for name, (_, body) in sorted(self._decisions().items())),
            **self.words,
        )

    def _read_records(self) -> None:
        """Read the records that are new; a record that was replaced or removed is no longer known."""
        present = {entry.name: entry for entry in plain_files(self.path / "units")}
        for name in self.results.keys() - {name.removesuffix(".json") for name in present}:
            del self.results[name]
        for file, entry in present.items():
            unit = file.removesuffix(".json")
            known = self.results.get(unit)
            if unit in self.units and (known is None or known.file != entry.inode()):
                try:
                    self.results[unit] = unit_result(Path(entry.path).read_bytes(), entry.inode())
                except OSError:  # replaced or removed a moment ago
                    self.results.pop(unit, None)

    def _read_decisions(self) -> None:
        """Read the decisions that are new."""
        self.decided = self._read_decision_files(
            "launches", self.decided, lambda body: {"made": int(body["made"]), "reason": body.get("reason"), **body}
        )
        self.searched = self._read_decision_files(
            "search", self.searched, lambda body: {"asked": [str(cell["series"]) for cell in body["cells"]]}
        )
        self.confirmed = self._read_decision_files("confirm", self.confirmed, self._confirmed_units)

    def _confirmed_units(self, body: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON
        """The fresh runs that a confirmation requested, and how many cases it chose."""
        made_in = next((unit.made_in for unit in self.units.values() if unit.row == body["name"]), "")
        chosen = [(str(each["case"]), list(each["seeds"])) for each in body["chosen"]]
        requested = [slug(f"{made_in}-{case}-seed{int(seed)}") for case, seeds in chosen for seed in seeds]
        return {"asked": requested, "cases": len(chosen), "reason": body.get("reason")}

    def _decisions(self) -> dict[str, tuple[int, dict[str, Any]]]:
        """The decisions of pilots, searches and confirmations."""
        return self.decided | self.searched | self.confirmed

    def _read_decision_files(
        self, folder: str, before: dict[str, tuple[int, dict[str, Any]]], parse: Callable[[Any], dict[str, Any]]
    ) -> dict[str, tuple[int, dict[str, Any]]]:
        """The content of the files of a folder, read again where they are new; damaged files are left out."""
        found = {}
        for entry in plain_files(self.path / folder):
            name, inode = entry.name.removesuffix(".json"), entry.inode()
            known = before.get(name)
            if known is None or known[0] != inode:
                try:
                    known = inode, parse(read_json(Path(entry.path)))
                except (OSError, UsageError, KeyError, TypeError, ValueError):
                    continue
            found[name] = known
        return found

    def _begun_requests(self) -> set[str]:
        """Series of a search, and fresh runs of a confirmation, that have a record or a log."""
        logged = {entry.name.removesuffix(".progress") for entry in plain_files(self.path / "logs")}
        present = [
            (name, unit) for name, unit in self.units.items() if unit.row and (name in self.results or name in logged)
        ]
        return {unit.series or name for name, unit in present}

    def _requested_units(self) -> tuple[dict[str, Unit], dict[str, float]]:
        """Return the units that were requested, and for each optional one the share of its kind that can still run.

        Of a search or confirmation that has not ended, units that have begun count: its other requests follow from its results.
        """
        ended = self.searched | self.confirmed
        going_on = any(unit.row and unit.row not in ended for unit in self.units.values())
        begun = self._begun_requests() if going_on else set[str]()
        planned, may = {}, set[str]()
        for name, unit in self.units.items():
            if unit.row:
                if (unit.series or name) in (ended[unit.row][1]["asked"] if unit.row in ended else begun):
                    planned[name] = unit
                elif unit.row not in ended:
                    may.add(name)
            elif self.pilot is None or not unit.series or unit.launch < self.pilot:
                planned[name] = unit
            elif unit.series not in self.decided:
                may.add(name)
            elif unit.launch < self.decided[unit.series][1]["made"]:
                planned[name] = unit
        return planned, optional_shares(self.units, may, self.roles)

    def _age(self) -> float:
        """Seconds since run.json was written: a run that has just begun may have no runner yet."""
        try:
            return time.time() - (self.path / "run.json").stat().st_mtime
        except OSError:
            return 0.0

    def _lease(self) -> lock.Lease | None:
        """The lease on the folder; None if there is none, or it cannot be read."""
        try:
            return lock.lease(self.path, writes=False)
        except (OSError, UsageError):
            return None

    def _running_units(
        self, planned: dict[str, Unit], logs: dict[str, os.DirEntry[str]], since: float | None
    ) -> list[Running]:
        """Units without a record that have written something since the runner began."""
        found = []
        for name in planned:
            written = [logs[file] for file in (f"{name}.progress", f"{name}.log") if file in logs]
            if name in self.results or not written:
                continue
            try:
                latest = max(file.stat(follow_symlinks=False).st_mtime for file in written)
                logged = Path(written[0].path).read_bytes()[:500] if written[0].name.endswith(".progress") else b""
            except OSError:
                continue
            if since is None or latest >= since - CLOCK_SKEW_S:
                text = " ".join(logged.decode("utf-8", errors="replace").split())
                found.append(Running(name, text, max(0.0, time.time() - latest)))
        return found

    def _groups(self, planned: dict[str, Unit], running: set[str]) -> Iterator[Group]:
        """Units by pass."""
        by_pass: dict[str, list[str]] = {}
        for name, unit in planned.items():
            by_pass.setdefault(unit.made_in, []).append(name)
        for made_in, names in by_pass.items():
            failed = sum(bool(self.results[name].troubles) for name in names if name in self.results)
            done = sum(name in self.results for name in names) - failed
            now = sum(name in running for name in names)
            yield Group(made_in, done, failed, now, len(names) - done - failed - now)

    def _failures(self, planned: dict[str, Unit], logs: dict[str, os.DirEntry[str]]) -> Iterator[Failure]:
        for name in planned:
            for case, metrics, reason in self.results[name].troubles if name in self.results else ():
                log = next((file for file in (f"{name}.died.log", f"{name}.log") if file in logs), None)
                yield Failure(name, case, metrics, reason, os.path.relpath(logs[log].path, self.path) if log else None)

    def _seconds_left(self, runs: dict[str, float], running: int) -> float:
        """Predicted seconds left, from the share of each unit that runs, scaled by the time that units of its pass took, or all.

        A prediction knows how many units run side by side on this machine. Elsewhere as many go on at once as run now, and
        launches of a series follow each other.
        """
        self._read_predictions()
        took: dict[str, list[float]] = {}
        left: dict[tuple[str, str], float] = {}
        for name, share in runs.items():
            unit = self.units[name]
            seconds, at_once = self.expected[1].get(name, (START_S + unit.flops / SPEED, 1))
            if self.remote:  # what it takes by itself
                seconds, at_once = seconds * at_once, 1
            result = self.results.get(name)
            if result is None:
                chain = (unit.made_in, unit.series or name)
                left[chain] = left.get(chain, 0.0) + seconds * share
            elif result.wall_s:
                for group in (unit.made_in, ""):
                    sums = took.setdefault(group, [0.0, 0.0])
                    sums[0] += result.wall_s / at_once
                    sums[1] += seconds
        overall = _ratio(took.get("", [0.0, 0.0]), 1.0)
        chains = [s * _ratio(took.get(made_in, [0.0, 0.0]), overall) for (made_in, _), s in left.items()]
        return max([sum(chains) / max(1, running), *chains]) if self.remote else sum(chains)

    def _read_predictions(self) -> None:
        """Read the predictions again if they are new."""
        try:
            inode = (self.path / predicted.NAME).stat().st_ino
        except OSError:
            return
        if inode != self.expected[0]:
            self.expected = inode, predicted.read(self.path)


def _ratio(sums: list[float], otherwise: float) -> float:
    took, expected = sums
    return took / expected if took > 0 and expected > 0 else otherwise


def _state_without(lease: lock.Lease | None, *, fresh: bool) -> str:
    """The state of an unfinished run without a live runner."""
    dead = lease is not None and lease.state == "dead"
    return "running" if fresh and not dead else "stopped"


def _runner(lease: lock.Lease | None, *, fresh: bool) -> str:
    if lease is None:
        return "no runner holds the folder" + (", but its files are new" if fresh else "")
    beat = f"{lease.state}, heartbeat {lock.when(lease.silent_s)}"
    return f"{lease.holder.host}, process {lease.holder.pid}: {beat}"


def _decision_text(series: str, body: dict[str, Any]) -> str:
    """A decision as text: `time-T128: 12 launches`, `forward-mod-c0.125: 5 cells`, `best-T256: 36 fresh runs of 2 cases`."""
    if "cases" in body:
        runs = f"{len(body['asked'])} fresh runs of {body['cases']} cases"
        return f"{series}: {body['reason'] or runs}"
    if "made" not in body:
        return f"{series}: {len(body['asked'])} cells"
    if body.get("reason"):
        return f"{series}: {body['made']} launches: {body['reason']}"
    requested = body.get("asked")
    capped = f" of {requested} asked for" if isinstance(requested, int) and requested > body["made"] else ""
    return f"{series}: {body['made']} launches{capped}"
