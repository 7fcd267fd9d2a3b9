"""Starts the command line in processes of its own, brings a fault about at a random moment, resumes, and counts what was lost.

A command is a fork of this process, which has loaded everything and computed nothing: it starts in milliseconds. So does
its fork server. Everything else is real: processes, signals, files, exit codes.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import json
import multiprocessing.util
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fault_injection
import pandas as pd
import stub_units
import torch  # noqa: F401  # loaded before the first fork

from modbench import api, cli
from modbench.harness.core import catalogue
from modbench.harness.core.case import UnitOfWork
from modbench.harness.execution import runner  # noqa: F401  # as torch
from modbench.harness.planning.overrides import Overrides
from modbench.harness.planning.plan import Plan
from modbench.reports import render, summary  # noqa: F401  # as torch

PATIENCE_S = 60.0
Injection = tuple[str, str, str]


def prepare() -> Plan:
    """Load what commands need, leave out the pass that builds real models, and plan the stub suite."""
    passes = catalogue.passes()
    passes["count"] = dataclasses.replace(passes["count"], always=False)
    for room in ("panels", "doubts"):
        for name in catalogue.entries(room):
            catalogue.load(room, name)
    return api.make_plan("stubs", Overrides())


@dataclass
class Process:
    """A command that was started.

    Attributes:
        pid: its process id, and that of its process group.
        said: where its standard error went.
        code: its exit code, negative for a signal; None while it runs.
    """

    pid: int
    said: Path
    code: int | None = None

    @property
    def alive(self) -> bool:
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code is None

    def wait(self) -> int:
        until = time.monotonic() + PATIENCE_S
        while self.alive:
            if time.monotonic() > until:
                kill(self.pid, group=True)
                raise AssertionError(f"a command did not end within {PATIENCE_S:.0f} s: {self.said.read_text()}")
            time.sleep(0.002)
        assert self.code is not None
        return self.code


def kill(pid: int, number: int = signal.SIGKILL, *, group: bool = False) -> None:
    with contextlib.suppress(ProcessLookupError):
        (os.killpg if group else os.kill)(pid, number)


def start(arguments: Iterable[str], beside: Path, number: int, before: Callable[[], None] | None = None) -> Process:
    """Start a command in a folder, in a process group of its own, as a shell does."""
    said = beside / f"stderr-{number}"
    pid = os.fork()
    if pid:
        return Process(pid, said)
    code = 70
    try:
        os.setsid()
        os.chdir(beside)
        for stream, file in ((0, Path(os.devnull)), (1, beside / f"stdout-{number}"), (2, said)):
            handle = os.open(file, os.O_RDONLY if stream == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(handle, stream)
            os.close(handle)
        sys.argv = ["modbench", *arguments]
        multiprocessing.util.spawnv_passfds = _forked(multiprocessing.util.spawnv_passfds)
        if before is not None:
            before()
        code = _ended(cli.main)
    except BaseException:  # noqa: BLE001  # a fork must not go on as the driver
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()
        for each in (sys.stdout, sys.stderr):
            with contextlib.suppress(BaseException):
                each.flush()
        os._exit(code)


def _ended(command: Callable[[], None]) -> int:
    try:
        command()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    return 0


def _forked(real: Callable[..., int]) -> Callable[..., int]:
    """Start a fork server as a fork of this process, with the descriptors that a new interpreter would have."""

    def spawned(path: Any, args: list[Any], descriptors: Iterable[int]) -> int:
        if "multiprocessing.forkserver" not in str(args[-1]):
            return real(path, args, descriptors)
        pid = os.fork()
        if pid:
            return pid
        kept = {0, 1, 2, *descriptors}
        for number in range(3, 256):
            if number not in kept:
                with contextlib.suppress(OSError):
                    os.close(number)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):  # handlers of Python do not outlive an exec
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        code = 1
        try:
            exec(args[-1], {"__name__": "forkserver"})  # noqa: S102  # the text that an interpreter would run
            code = 0
        except SystemExit:
            code = 0
        finally:
            os._exit(code)

    return spawned


@dataclass
class Trial:
    """One fault at one moment.

    Attributes:
        beside: folder of the trial, which holds the run folder.
        plan: the stub plan.
        moment: when the fault comes, as a share of the run.
        rng: random numbers of the trial.
        problems: what was wrong besides the three counts.
        kept: good records after the fault, by unit: file identity and content.
        codes: exit codes of the command that met the fault.
    """

    beside: Path
    plan: Plan
    moment: float
    rng: random.Random
    problems: list[str] = field(default_factory=list)
    kept: dict[str, tuple[int, int, bytes]] = field(default_factory=dict)
    codes: list[int] = field(default_factory=list)
    started: int = 0

    @property
    def run(self) -> Path:
        return self.beside / "run"

    @property
    def switch(self) -> Path:
        return self.beside / "switch"

    def record(self, unit: UnitOfWork) -> Path:
        return self.run / "units" / f"{unit.name}.json"

    def command(self, *arguments: str, fault: str = "", before: Callable[[], None] | None = None) -> Process:
        self.started += 1

        def prepared() -> None:
            if before is not None:
                before()
            if fault:
                fault_injection.install(fault, str(self.run), str(self.switch))

        return start(arguments, self.beside, self.started, prepared)

    def begin(self, *options: str, **named: Any) -> Process:
        return self.command("run", "stubs", "--device", "cpu", "-o", "run", *options, **named)

    def journal(self) -> list[list[str]]:
        try:
            return [line.split() for line in (self.beside / "journal").read_text().splitlines()]
        except FileNotFoundError:
            return []

    def running(self) -> dict[str, int]:
        """Units whose process has started and not ended, as the journal has it."""
        found: dict[str, int] = {}
        for event, unit, pid, _ in self.journal():
            if event == "start":
                found[unit] = int(pid)
            else:
                found.pop(unit, None)
        return found

    def reach(self, process: Process) -> bool:
        """Wait for the trial's moment; whether the command is still running then."""
        at = self.moment * (len(self.plan.units) + 2)
        wanted, rest = min(int(at), len(self.plan.units)), at - int(at)
        while process.alive and sum(line[0] == "start" for line in self.journal()) < wanted:
            time.sleep(0.001)
        time.sleep(rest * (0.25 if int(at) in {0, len(self.plan.units) + 1} else 0.03))
        return process.alive

    def ended(self, process: Process, expected: set[int], lines: int = 2) -> None:
        """Wait for a command; note a wrong exit code, a traceback or a long message."""
        code = process.wait()
        self.codes.append(code)
        said = [line for line in process.said.read_text(errors="replace").splitlines() if not line.startswith("[")]
        if code not in expected:
            self.problems.append(f"exit code {code}, not {sorted(expected)}: {' / '.join(said[-3:])}")
        if any("Traceback" in line for line in said) or len(said) > lines:
            self.problems.append(f"{len(said)} lines: {' / '.join([*said[:2], '…', *said[-2:]])}")

    def settle(self) -> None:
        """Wait until no process of the trial is left, and note which did not end; then see what was kept."""
        until = time.monotonic() + 20
        while left := [pid for pid in self.pids() if _runs(pid)]:
            if time.monotonic() > until:
                self.problems.append(f"{len(left)} processes outlived the command by 20 s")
                for pid in left:
                    kill(pid)
                break
            time.sleep(0.005)
        for unit in self.plan.units:
            file = self.record(unit)
            if stub_units.good(file):
                stat = file.stat()
                self.kept[unit.name] = (stat.st_ino, stat.st_mtime_ns, file.read_bytes())

    def pids(self) -> set[int]:
        return {int(line[2]) for line in self.journal()}

    def resume(self, *options: str) -> None:
        """Continue to the end; where the fault came before there was a plan on disk, start anew."""
        if not (self.run / "run.json").exists():
            shutil.rmtree(self.run, ignore_errors=True)
            self.ended_well(self.begin())
        else:
            self.ended_well(self.command("resume", *options, "run"))

    def ended_well(self, process: Process) -> None:
        code = process.wait()
        if code != 0:
            self.problems.append(f"resume ended with {code}: {process.said.read_text(errors='replace')[-400:]}")

    def counts(self) -> tuple[int, int, int]:
        """Units lost, duplicated and silently wrong."""
        lost = sum(not stub_units.good(self.record(unit)) for unit in self.plan.units)
        again = {line[1] for line in self.journal() if line[3] == "again"}
        again |= {name for name, was in self.kept.items() if _identity(self.run / "units" / f"{name}.json") != was}
        wrong = sum(1 for unit in self.plan.units for made, _ in _values(self.record(unit), unit) if not made)
        return lost, len(again), wrong + self._wrong_in_table()

    def _wrong_in_table(self) -> int:
        file = self.run / "cases.csv"
        if not file.exists():
            self.problems.append("there is no report")
            return 0
        table = pd.read_csv(file)
        right = [
            stub_units.value(metric.replace("stub/", "stub_"), case)
            for metric, case in zip(table.metric, table.case_id, strict=True)
        ]
        if len(table) != 3 * len(self.plan.cases) or not (table.status == "ok").all():
            self.problems.append(f"the table has {len(table)} rows, {(table.status == 'ok').sum()} of them good")
        return int(((table.status == "ok") & (abs(table.value - right) > 1e-6)).sum())


def _values(file: Path, unit: UnitOfWork) -> Iterable[tuple[bool, str]]:
    with contextlib.suppress(OSError, ValueError, LookupError):
        for outcome in json.loads(file.read_bytes())["outcomes"]:
            if outcome["status"] == "ok":
                right = stub_units.value(unit.made_in, outcome["case"])
                yield outcome["samples"]["value"] == [right], outcome["case"]


def _identity(file: Path) -> tuple[int, int, bytes] | None:
    try:
        stat = file.stat()
        return stat.st_ino, stat.st_mtime_ns, file.read_bytes()
    except FileNotFoundError:
        return None


def _runs(pid: int) -> bool:
    """Whether a process lives; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
