"""Runs a plan: timed units alone, one after the other; others in parallel. A failed unit leaves a record; the run goes on."""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol as Interface

from modbench.harness.core import catalogue
from modbench.harness.core.case import UnitOfWork
from modbench.harness.core.device_lost import DeviceLost, last_words
from modbench.harness.core.files import now, write_atomically
from modbench.harness.core.launching import Handle, Launcher, MakeLauncher, Started
from modbench.harness.execution.pilot import Pilots
from modbench.harness.execution.second_clock import check_clock
from modbench.harness.machine.environment import usable_cores
from modbench.harness.planning.plan import Plan, limit_seconds
from modbench.harness.results.outcomes import missing
from modbench.harness.results.records import Death, Gap, Outcome, Record
from modbench.harness.results.run_folder import RunFolder

POLL_S = 1.0


class Progress(Interface):
    """Receives events while units run."""

    def started(self, unit: UnitOfWork) -> None:
        """Called when a unit starts."""

    def tick(self) -> None:
        """Called about once a second."""

    def added(self, series: str, units: Sequence[UnitOfWork]) -> None:
        """Called once for each series whose pilot has ended, with the launches that it asked for, or none."""

    def ended(self, unit: UnitOfWork) -> None:
        """Called when a unit has its record."""


@dataclass(frozen=True)
class Slots:
    """The units of a phase.

    Attributes:
        units: in order.
        at_once: how many may run at once.
        timed: whether they are timed, so that this process must stay idle meanwhile.
    """

    units: tuple[UnitOfWork, ...]
    at_once: int
    timed: bool = False


def phases(plan: Plan, cores: int) -> list[Slots]:
    """Group the units by phase: count, then time alone, then memory and training on all cores.

    Nothing but the parent process runs at the same time as a timed unit.
    """
    side_by_side = max(1, cores // plan.suite.threads) if plan.device == "cpu" else 1
    passes = catalogue.passes()
    made = []
    for phase in sorted({each.phase for each in passes.values()}):
        here = {name: each for name, each in passes.items() if each.phase == phase}
        units = tuple(unit for unit in plan.units if unit.made_in in here)
        alone = any(each.alone for each in here.values())
        timed = any(each.timed for each in here.values())
        made.append(Slots(units, 1 if alone else side_by_side, timed=timed))
    return made


def run(
    plan: Plan, folder: RunFolder, progress: Progress, *, launcher: str = "local", whole: Plan | None = None
) -> None:
    """Run every unit of the plan; afterwards each has a record, unless interrupted.

    The CPU time that this process took during timed units is written to the folder: a busy parent disturbs what it measures.

    Args:
        plan: what to run.
        folder: where records are written.
        progress: receives events.
        launcher: the name of the launcher that starts units.
        whole: the plan of an interrupted run, of which this is the rest; None: this is the whole.
    """
    make: MakeLauncher = catalogue.load("launchers", launcher)
    starts = make(cold=plan.cold, threads=plan.suite.threads, device=plan.device)
    pilots = Pilots(whole or plan, folder)
    start, timed_wall, timed_cpu = time.monotonic(), 0.0, 0.0
    for slots in phases(plan, usable_cores()):
        limits = {unit.name: limit_seconds(plan, unit) for unit in slots.units}
        wall, cpu = time.monotonic(), time.process_time()
        run_phase(slots, starts, folder, progress, limits, pilots)
        if slots.timed and slots.units:
            # Pilots are evaluated while no unit runs.
            timed_wall, timed_cpu = time.monotonic() - wall, time.process_time() - cpu - pilots.cpu_s
    folder.write_finished(
        {
            "ended": now(),
            "wall_s": time.monotonic() - start,
            "started_monotonic_s": start,
            "timed_wall_s": timed_wall,
            "parent_cpu_s": timed_cpu,
            "resumed": whole is not None,
        }
    )


def run_apart(
    units: Sequence[UnitOfWork], launcher: Launcher[Started], progress: Progress, limit_s: float
) -> list[Record]:
    """Run units one after the other in a folder that is deleted afterwards; returns their records."""
    with tempfile.TemporaryDirectory(prefix="modbench-") as name:
        folder = RunFolder(Path(name))
        folder.units.mkdir()
        folder.logs.mkdir()
        run_phase(Slots(tuple(units), 1), launcher, folder, progress, {unit.name: limit_s for unit in units})
        return [Record.model_validate_json(folder.record(unit).read_bytes()) for unit in units]


def run_phase(
    slots: Slots,
    launcher: Launcher[Started],
    folder: RunFolder,
    progress: Progress,
    limits: Mapping[str, float],
    pilots: Pilots | None = None,
) -> None:
    """Run the units of one phase.

    Args:
        slots: what to run, and how many at once.
        launcher: starts units.
        folder: where records are written.
        progress: receives events.
        limits: seconds after which a unit counts as hanging.
        pilots: decide how many launches a series has; None: all units are run.
    """
    first = {unit.protocol.train.rate_from for unit in slots.units if unit.protocol.train}  # others wait for these
    largest_first = sorted(slots.units, key=lambda unit: (unit.name not in first, -unit.flops))
    units = largest_first if slots.at_once > 1 else list(slots.units)
    place = {unit.name: at for at, unit in enumerate(units)}
    waiting = [unit for unit in units if pilots is None or not pilots.later(unit)]
    undecided = {unit.series for unit in units if pilots is not None and unit.series in pilots.series}
    for series in sorted(undecided):  # what was decided before this run was resumed
        waiting += _asked(pilots, series, undecided, units, progress)
    running: list[Started] = []
    retried: dict[str, Death] = {}
    try:
        while waiting or running:
            while len(running) < slots.at_once and (at := _next(waiting, running)) is not None:
                unit = waiting.pop(at)
                if unit.name not in retried:
                    progress.started(unit)
                running.append(launcher.start(unit, folder, limits[unit.name]))
            ended = launcher.wait(running, POLL_S)
            progress.tick()
            for handle in ended:
                running.remove(handle)
                timed_out = handle.running
                launcher.end(handle)
                unit = handle.unit
                check_clock(handle.record, unit, time.monotonic())
                if not handle.record.exists():
                    cause = death(handle.exitcode, timed_out=timed_out, log=folder.log(unit))
                    _keep_log(folder.log(unit))
                    shipped = tuple(case for case in unit.comparison.arms if not case.own)
                    if shipped and len(shipped) < len(unit.comparison.arms):
                        # A user's model may have killed the process: the shipped models run again without it.
                        retried[unit.name] = cause
                        comparison = unit.comparison.model_copy(update={"arms": shipped})
                        waiting.insert(0, unit.model_copy(update={"comparison": comparison}))
                        continue
                    _write_failure(unit, handle.record, cause)
                if unit.name in retried:
                    _add_failed(handle.record, _planned(slots, unit), retried[unit.name])
                _drop_empty_log(folder.log(unit))
                progress.ended(unit)
                if more := _asked(pilots, unit.series, undecided, units, progress):
                    waiting = sorted([*waiting, *more], key=lambda each: place[each.name])
    finally:
        for handle in running:  # only after an interrupt or a bug in modbench
            launcher.end(handle)


def _asked(
    pilots: Pilots | None, series: str, undecided: set[str], units: Sequence[UnitOfWork], progress: Progress
) -> list[UnitOfWork]:
    """Units that the pilot of a series asks for, once it has ended; the progress then counts them."""
    made = pilots.number(series) if pilots is not None and series in undecided else None
    if pilots is None or made is None:
        return []
    undecided.discard(series)
    more = [unit for unit in units if unit.series == series and pilots.later(unit) and unit.launch < made]
    progress.added(series, more)
    return more


def _next(waiting: list[UnitOfWork], running: Sequence[Handle]) -> int | None:
    """Index of the first unit that does not need the record of a pending unit."""
    pending = {unit.name for unit in (*waiting, *(handle.unit for handle in running))}
    for at, unit in enumerate(waiting):
        if unit.protocol.train is None or unit.protocol.train.rate_from not in pending:
            return at
    return None


def _planned(slots: Slots, unit: UnitOfWork) -> UnitOfWork:
    """The unit as planned: a retried unit lacks the user's arms."""
    return next(planned for planned in slots.units if planned.name == unit.name)


def _drop_empty_log(log: Path) -> None:
    if log.exists() and log.stat().st_size == 0:
        log.unlink()


def _keep_log(log: Path) -> None:
    """Rename the log, since a second try writes a log of its own."""
    if log.exists():
        log.replace(log.with_suffix(".died.log"))


def _write_failure(unit: UnitOfWork, file: Path, died: Death) -> None:
    """Write the record for a process that died before it could."""
    record = Record(unit=unit, started=now(), wall_s=0.0, died=died, outcomes=tuple(_lost(unit, unit, died)))
    write_atomically(file, record.model_dump_json())


def _add_failed(file: Path, planned: UnitOfWork, died: Death) -> None:
    """Write the planned unit's record: what the second try measured, and the user's arms as failed."""
    record = Record.model_validate_json(file.read_text(encoding="utf-8"))
    outcomes = (*record.outcomes, *_lost(planned, record.unit, died, only_own=True))
    again = died.model_copy(update={"again": True})
    # If the second try died too, its record says so and nothing was measured.
    update = {"unit": planned, "outcomes": outcomes, "died": record.died or again}
    write_atomically(file, record.model_copy(update=update).model_dump_json())


def _lost(unit: UnitOfWork, logged: UnitOfWork, died: Death, *, only_own: bool = False) -> Iterator[Outcome]:
    """Failed outcomes for every case and metric of a unit whose process died."""
    gap = Gap(status="failed", kind=died.kind, reason=f"{died.reason}; see logs/{logged.name}.died.log")
    for case in unit.comparison.arms:
        if only_own and not case.own:
            continue
        for metric in catalogue.metrics().values():
            if unit.makes(metric):
                yield missing(case, metric, gap)


def death(exitcode: int | None, *, timed_out: bool, log: Path | None = None) -> Death:
    """Describe how a process without a record ended, with what its log says of a lost device."""
    if timed_out:
        return Death(kind="timeout", reason="the process exceeded its time limit and was ended")
    if exitcode is not None and exitcode < 0:
        name = signal.Signals(-exitcode).name
        if -exitcode == signal.SIGKILL:
            return Death(
                kind="oom", reason=f"the process was killed ({name}): the machine most likely ran out of memory"
            )
        return Death(kind="crash", reason=f"the process died of {name}")
    if exitcode == DeviceLost.exit_code:
        said = last_words(log.read_text(encoding="utf-8", errors="replace")) if log and log.exists() else ""
        return Death(kind="crash", reason=f"the GPU could not be used any more ({said or 'it did not say why'})")
    return Death(kind="crash", reason=f"the process ended with exit code {exitcode} and left no record")
