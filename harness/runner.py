"""Runs a plan: timed units alone, one after the other; the rest side by side. A failed unit is a record, not the end."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol as Interface

from modbench.harness import catalogue
from modbench.harness.case import UnitOfWork
from modbench.harness.launch.local import Handle, LocalLauncher
from modbench.harness.plan import COLD_EFFORTS, Plan
from modbench.harness.records import Failure, Outcome, Record
from modbench.harness.store import RunFolder, now, write_atomically

POLL_S = 1.0


class Progress(Interface):
    """What is told while units run."""

    def started(self, unit: UnitOfWork) -> None:
        """A unit begins."""

    def tick(self) -> None:
        """About once a second."""

    def ended(self, unit: UnitOfWork) -> None:
        """A unit has its record."""


@dataclass(frozen=True)
class Slots:
    """How many units of a phase may run at once."""

    units: tuple[UnitOfWork, ...]
    at_once: int


def phases(plan: Plan, cores: int) -> list[Slots]:
    """Count, then time alone, then memory and training on all cores. Nothing runs beside a timed unit."""
    side_by_side = max(1, cores // plan.suite.threads) if plan.device == "cpu" else 1

    def of(*passes: str) -> tuple[UnitOfWork, ...]:
        return tuple(unit for unit in plan.units if unit.made_in in passes)

    return [Slots(of("count"), side_by_side), Slots(of("time"), 1), Slots(of("memory", "train"), side_by_side)]


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(plan: Plan, folder: RunFolder, progress: Progress) -> None:
    """Run every unit of the plan; afterwards each has a record, unless interrupted."""
    cold = plan.device == "cuda" or plan.suite.effort in COLD_EFFORTS
    launcher = LocalLauncher(cold=cold, threads=plan.suite.threads)
    for slots in phases(plan, usable_cores()):
        _run_phase(slots, launcher, folder, progress)


def _run_phase(slots: Slots, launcher: LocalLauncher, folder: RunFolder, progress: Progress) -> None:
    waiting = sorted(slots.units, key=_longest_first) if slots.at_once > 1 else list(slots.units)
    running: list[Handle] = []
    try:
        while waiting or running:
            while waiting and len(running) < slots.at_once:
                unit = waiting.pop(0)
                progress.started(unit)
                running.append(launcher.start(unit, folder.record(unit), _log(folder, unit)))
            ended = launcher.wait(running, POLL_S)
            progress.tick()
            for handle in ended:
                running.remove(handle)
                timed_out = handle.process.is_alive()
                launcher.end(handle)
                if not handle.record.exists():
                    _write_failure(handle, folder, timed_out=timed_out)
                _drop_empty_log(_log(folder, handle.unit))
                progress.ended(handle.unit)
    finally:
        for handle in running:  # only after an interrupt or a bug of ours
            launcher.end(handle)


def _longest_first(unit: UnitOfWork) -> float:
    return -unit.flops


def _log(folder: RunFolder, unit: UnitOfWork) -> Path:
    return folder.logs / f"{unit.name}.log"


def _drop_empty_log(log: Path) -> None:
    if log.exists() and log.stat().st_size == 0:
        log.unlink()


def _write_failure(handle: Handle, folder: RunFolder, *, timed_out: bool) -> None:
    """The record of a process that could not write its own."""
    unit = handle.unit
    kind, reason = death(handle.process.exitcode, timed_out=timed_out)
    log = _log(folder, unit).relative_to(folder.path)
    known = catalogue.metrics()
    outcomes = tuple(
        Outcome(
            case=case.id, metric=key, unit=known[key].unit, status="failed", kind=kind, reason=f"{reason}; see {log}"
        )
        for case in unit.comparison.arms
        for key in unit.comparison.metrics
        if known[key].made_in == unit.made_in and unit.workload in {"", known[key].workload}
    )
    record = Record(unit=unit, started=now(), wall_s=0.0, environment={}, outcomes=outcomes)
    write_atomically(handle.record, record.model_dump_json())


def death(exitcode: int | None, *, timed_out: bool) -> tuple[Failure, str]:
    """Kind and words for a process that left no record."""
    if timed_out:
        return "timeout", "the process ran past its time limit and was ended"
    if exitcode is not None and exitcode < 0:
        name = signal.Signals(-exitcode).name
        if -exitcode == signal.SIGKILL:
            return "oom", f"the process was killed ({name}): most likely the machine ran out of memory"
        return "crash", f"the process died of {name}"
    return "crash", f"the process ended with exit code {exitcode} and left no record"
