"""A run that meets a fault at a random moment, is resumed to its end, and what was lost, run twice or wrong in it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fault_injection
import pandas as pd
import stub_jobs
from fault_process import PATIENCE_S, Process, children, command_of, kill, runs, start

from modbench import api
from modbench.harness.domain.case import Job
from modbench.harness.execution.limits import Limits
from modbench.harness.planning.overrides import Overrides
from modbench.harness.planning.plan import Plan
from modbench.harness.registry import catalogue
from modbench.harness.results.workspace import Workspace


def prepare() -> Plan:
    """Load what commands need, leave out the pass that builds real models, and plan the stub suite."""
    passes = catalogue.passes()
    passes["count"] = dataclasses.replace(passes["count"], runs_for_every_case=False)
    for room in ("sections", "warnings"):
        for name in catalogue.entries(room):
            catalogue.load(room, name)
    return api.make_plan("stubs", Overrides())


@dataclass
class Trial:
    """One fault at one moment.

    Attributes:
        beside: folder of the trial, which holds the run folder.
        plan: the stub plan.
        moment: when the fault comes, as a share of the run.
        rng: random numbers of the trial.
        problems: what was wrong besides the three counts.
        kept: good records after the fault, by job: file identity and content.
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

    def record(self, job: Job) -> Path:
        return self.run / "jobs" / f"{job.name}.json"

    @property
    def whole(self) -> bool:
        """Whether every job has a good record."""
        return all(stub_jobs.good(self.record(job)) for job in self.plan.jobs)

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

    def begin_hanging(self) -> Process | None:
        """Start a run of which one job hangs until its limit of two seconds has passed; the others have the usual limit."""
        name = self._job().name
        switch = self.beside / f"hang-{name}"
        switch.touch()

        def limited() -> None:
            usual = Limits.limit

            def limit(limits: Limits, job: Job) -> float:
                return 2.0 if job.name == name else usual(limits, job)

            Limits.limit = limit  # type: ignore[method-assign, assignment]

        process = self.begin(before=limited)
        process.wait()
        switch.unlink()
        return process

    def begin_dying(self) -> Process:
        """Start a run of which one job is killed between its record and its end."""
        name = self._job().name

        def dying() -> None:
            tidy = Workspace.tidy

            def tidied(here: Workspace) -> None:
                if here.job == name and here.run.parent == self.beside and stub_jobs.good(here.record_of(name)):
                    os.kill(os.getpid(), signal.SIGKILL)
                tidy(here)

            Workspace.tidy = tidied  # type: ignore[method-assign, assignment]

        return self.begin(before=dying)

    def _job(self) -> Job:
        return self.plan.jobs[min(int(self.moment * len(self.plan.jobs)), len(self.plan.jobs) - 1)]

    def helpers(self, process: Process) -> dict[str, list[int]]:
        """Processes that a command keeps beside its workers."""
        found: dict[str, list[int]] = {"fork server": [], "minder": []}
        for pid in children(process.pid):
            said = command_of(pid)
            if "child.py\0mind" in said:
                found["minder"].append(pid)
            elif said == command_of(os.getpid()) or "forkserver" in said:  # a fork of this process, or Python's own
                found["fork server"].append(pid)
        return found

    def running(self, _process: Process) -> dict[str, int]:
        """Jobs whose process has started and not ended, as the journal has it."""
        found: dict[str, int] = {}
        for event, job, pid, _ in self.journal():
            if event == "start":
                found[job] = int(pid)
            else:
                found.pop(job, None)
        return found

    def reach(self, process: Process) -> bool:
        """Wait for the trial's moment; whether the command is still running then."""
        at = self.moment * (len(self.plan.jobs) + 2)
        wanted, rest = min(int(at), len(self.plan.jobs)), at - int(at)
        while process.alive and sum(line[0] == "start" for line in self.journal()) < wanted:
            time.sleep(0.001)
        time.sleep(rest * (0.25 if int(at) in {0, len(self.plan.jobs) + 1} else 0.03))
        return process.alive

    def ended(self, process: Process, expected: set[int], lines: int = 2) -> None:
        """Wait for a command; note a wrong exit code, a traceback or a long message."""
        code = process.wait()
        self.codes.append(code)
        said = [
            line
            for line in process.said.read_text(errors="replace").splitlines()
            if not line.startswith(("[", "stubs: "))
        ]
        if code not in expected:
            self.problems.append(f"exit code {code}, not {sorted(expected)}: {' / '.join(said[-3:])}")
        # Where the command was killed, Python's fork server may say that it was cut off.
        if code != -signal.SIGKILL and (any("Traceback" in line for line in said) or len(said) > lines):
            self.problems.append(f"{len(said)} lines: {' / '.join([*said[:2], '…', *said[-2:]])}")

    def settle(self) -> None:
        """Wait until no process of the trial is left, and note which did not end; then see what was kept."""
        until = time.monotonic() + PATIENCE_S
        while left := [pid for pid in self.pids() if runs(pid)]:
            if time.monotonic() > until:
                self.problems.append(f"{len(left)} processes outlived the command by {PATIENCE_S:.0f} s")
                for pid in left:
                    kill(pid)
                break
            time.sleep(0.005)
        for job in self.plan.jobs:
            file = self.record(job)
            if stub_jobs.good(file):
                stat = file.stat()
                self.kept[job.name] = (stat.st_ino, stat.st_mtime_ns, file.read_bytes())

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
        """Jobs lost, duplicated and silently wrong."""
        lost = sum(not stub_jobs.good(self.record(job)) for job in self.plan.jobs)
        again = {line[1] for line in self.journal() if line[3] == "again"}
        again |= {name for name, was in self.kept.items() if identity(self.run / "jobs" / f"{name}.json") != was}
        wrong = sum(1 for job in self.plan.jobs for made, _ in _values(self.record(job), job) if not made)
        return lost, len(again), wrong + self._wrong_in_table()

    def _wrong_in_table(self) -> int:
        file = self.run / "cases.csv"
        if not file.exists():
            self.problems.append("there is no report")
            return 0
        table = pd.read_csv(file)
        right = [
            stub_jobs.value(metric.replace("stub/", "stub_"), case)
            for metric, case in zip(table.metric, table.case_id, strict=True)
        ]
        if len(table) != 3 * len(self.plan.cases) or not (table.status == "ok").all():
            self.problems.append(f"the table has {len(table)} rows, {(table.status == 'ok').sum()} of them good")
        return int(((table.status == "ok") & (abs(table.value - right) > 1e-6)).sum())


def _values(file: Path, job: Job) -> Iterable[tuple[bool, str]]:
    with contextlib.suppress(OSError, ValueError, LookupError):
        for outcome in json.loads(file.read_bytes())["outcomes"]:
            if outcome["status"] == "ok":
                right = stub_jobs.value(job.made_in, outcome["case"])
                yield outcome["samples"]["value"] == [right], outcome["case"]


def identity(file: Path) -> tuple[int, int, bytes] | None:
    try:
        stat = file.stat()
        return stat.st_ino, stat.st_mtime_ns, file.read_bytes()
    except FileNotFoundError:
        return None
