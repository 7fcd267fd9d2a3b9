"""Runs the units of one phase: starts them, waits for them, and sees that each leaves a record.

Of a unit whose process died before it wrote one, its parent writes it, with the kind of failure. Between two timed units, while
no unit runs, rules decide which others do. This process, which no user's model can reach, is the second clock of each unit.
"""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic
from typing import Protocol as Interface

from modbench.harness.core.errors import ModbenchError
from modbench.harness.core.files import now
from modbench.harness.domain.case import UnitOfWork
from modbench.harness.domain.passes import Pass
from modbench.harness.domain.records import Death, Missing, Outcome, Record
from modbench.harness.execution.launching import Launcher, Started, is_remote
from modbench.harness.execution.limits import in_words
from modbench.harness.execution.stopping import Stop
from modbench.harness.planning.plan import Plan
from modbench.harness.process.clocks import disagreement, monotonic
from modbench.harness.process.graceful_stop import STOP_SIGNAL, CannotWrite, DeviceLost, Stopped, device_lost_message
from modbench.harness.registry import catalogue
from modbench.harness.results import decisions
from modbench.harness.results.decisions import Decided
from modbench.harness.results.json_files import edit
from modbench.harness.results.lock import Lock
from modbench.harness.results.outcomes import missing
from modbench.harness.results.run_folder import RunFolder
from modbench.harness.results.sealed_records import read_record

POLL_S = 1.0
# The signal kills a worker whose handler is not set yet; such a worker has done nothing.
ENDED_AS_ASKED = {Stopped.exit_code, *([-STOP_SIGNAL] if STOP_SIGNAL is not None else [])}
# What the end of a process may take after its record is complete, on a loaded machine.
ENDING_S = 2.0


class Asker:
    """Asks the rules of a plan, and keeps their decisions.

    Args:
        plan: the whole plan, of a resumed run too.
        folder: holds records and decisions.
        units: those that this run measures. Until one has ended, its record in the folder is old or incomplete.

    Attributes:
        cpu_s: CPU time spent on decisions.
        decided: decisions so far, by group.
    """

    def __init__(self, plan: Plan, folder: RunFolder, units: Iterable[UnitOfWork] = ()) -> None:
        self.suite, self.folder, self.cpu_s = plan.suite, folder, 0.0
        self._rules = {group.name: group.rule for group in plan.groups}
        self._units: dict[str, list[UnitOfWork]] = {name: [] for name in self._rules}
        for unit in plan.units:
            if unit.group:
                self._units[unit.group].append(unit)
        self.decided = decisions.read(folder.path, plan)
        self._open = {unit.name for unit in units}
        self._records: dict[str, Record] = {}

    def ended(self, unit: UnitOfWork) -> None:
        """A unit has ended, and its record is complete."""
        self._open.discard(unit.name)

    def decide_all(self) -> None:
        """Decide about every group, also those of which no unit is left to run: their decisions may have been removed."""
        for group in self._rules:
            self.decide(group)

    def decide(self, group: str) -> Decided:
        """Return the decision about a group, with all that follows from its records now."""
        name = self._rules[group]
        before = decided = self.decided.get(group, Decided(rule=name, group=group))
        start = time.process_time()
        while not decided.ended and (records := self._of(group, decided)) is not None:
            decision = catalogue.load("rules", name).decide(self.suite, self._units[group], records)
            turn = max(decided.asked.values(), default=-1) + 1
            more = {unit: turn + decision.turns.get(unit, 0) for unit in decision.asked if unit not in decided.asked}
            if foreign := more.keys() - {unit.name for unit in self._units[group] if unit.rule}:
                raise ModbenchError(f"the rule {name!r} asks for {min(foreign)!r}, which is no unit of {group}.")
            decided = Decided(
                rule=name,
                group=group,
                asked=decided.asked | more,
                ended=decision.ended or not more,
                why=decision.why,
                found=decision.found,
            )
        if decided is not before:
            decisions.write(self.folder.path, decided)
            self.decided[group] = decided
        if decided.ended:
            for unit in self._units[group]:
                self._records.pop(unit.name, None)
        self.cpu_s += time.process_time() - start
        return decided

    def _of(self, group: str, decided: Decided) -> dict[str, Record] | None:
        """Records of the units that run in any case and of those that were asked for; None until all have ended."""
        found = {}
        for unit in self._units[group]:
            if unit.rule and unit.name not in decided.asked:
                continue
            if unit.name not in self._records:
                file = self.folder.record(unit)
                if unit.name in self._open or not file.exists():
                    return None
                self._records[unit.name] = read_record(file, unit)
            found[unit.name] = self._records[unit.name]
        return found


class Progress(Interface):
    """Receives events while units run."""

    def started(self, unit: UnitOfWork) -> None:
        """Called when a unit starts."""

    def tick(self) -> None:
        """Called about once a second."""

    def added(self, group: str, units: Sequence[UnitOfWork]) -> None:
        """Called with units that were asked for; with their group if that asks for nothing more, else without."""

    def ended(self, unit: UnitOfWork) -> None:
        """Called when a unit has its record."""


@dataclass(frozen=True)
class Slots:
    """The units of a phase.

    Attributes:
        units: in order.
        at_once: how many may run at once.
        timed: whether they are timed, so that this process must stay idle meanwhile.
        ranks: the most processes that share one of the units.
    """

    units: tuple[UnitOfWork, ...]
    at_once: int
    timed: bool = False
    ranks: int = 1


@dataclass(frozen=True)
class Run(Generic[Started]):
    """The parts that all phases of a run share.

    Attributes:
        launcher: starts units.
        folder: where records are written.
        progress: receives events.
        asker: lets rules decide which units run; None: all units are run.
        stop: what signals asked for.
        lock: the lease on the folder; None: nobody else knows it.
    """

    launcher: Launcher[Started]
    folder: RunFolder
    progress: Progress
    asker: Asker | None = None
    stop: Stop = field(default_factory=Stop)
    lock: Lock | None = None

    def phase(self, slots: Slots, limits: Mapping[str, float]) -> None:
        """Run the units of a phase.

        Args:
            slots: what to run, and how many at once.
            limits: seconds after which a unit counts as hanging.

        Raises:
            KeyboardInterrupt: if a signal asked to stop, once no unit runs any more.
            IncompleteError: if another runner took the folder.
            ModbenchError: if a unit could not write its files.
        """
        _Phase(self, slots, limits).go()


class _Phase(Generic[Started]):
    """The state of a phase that runs."""

    def __init__(self, run: Run[Started], slots: Slots, limits: Mapping[str, float]) -> None:
        self.run, self.slots, self.limits = run, slots, limits
        self.at_once = run.launcher.at_once(slots.at_once) if slots.ranks == 1 else slots.at_once
        # Others wait for the units that find learning rates.
        self.first = {unit.protocol.train.rate_from for unit in slots.units if unit.protocol.train} - {None}
        largest_first = sorted(slots.units, key=lambda unit: (unit.name not in self.first, -unit.flops))
        units = largest_first if self.at_once > 1 and not slots.timed else list(slots.units)
        self.planned = {unit.name: unit for unit in units}
        self.place = {unit.name: at for at, unit in enumerate(units)}
        self.later: dict[str, list[UnitOfWork]] = {}
        self.turns: dict[str, int] = {}
        waiting = units if run.asker is None else [unit for unit in units if not unit.rule]
        for unit in units if run.asker is not None else ():
            if unit.rule:
                self.later.setdefault(unit.group, []).append(unit)
        self.undecided = {unit.group for unit in units} - {""} if run.asker is not None else set[str]()
        for group in sorted(self.undecided):  # with what was decided before this run was resumed
            waiting += self._asked(group)
        self.waiting = self._in_turn(waiting)
        self.pending = {unit.name for unit in waiting} & self.first
        self.running: list[Started] = []
        self.retried: dict[str, Death] = {}
        self.told = False

    def go(self) -> None:
        """Run until every unit has its record, or a signal asks to stop."""
        stop, launcher = self.run.stop, self.run.launcher
        try:
            while self.running or (self.waiting and not stop.finishing):
                if stop.ending:  # the interrupt was dropped: it came inside a finalizer
                    raise KeyboardInterrupt
                if not stop.finishing:
                    self._start()
                elif is_remote(launcher):
                    break
                else:
                    self._ask()
                if not self.running:  # a signal came before the next unit started
                    continue
                ended = launcher.wait(self.running, POLL_S)
                self.run.progress.tick()
                for handle in ended:
                    self._end(handle)
            if self.waiting or self.running:
                stop.ending = True
                raise KeyboardInterrupt
        finally:  # with units that run only after an interrupt or an error
            stop.ending = stop.ending or bool(self.running)
            if is_remote(launcher) and self.running:
                stop.left = launcher.leave(self.running)
            else:
                for handle in self.running:
                    launcher.end(handle)

    def _start(self) -> None:
        """Start what may run now."""
        launcher, folder, stop = self.run.launcher, self.run.folder, self.run.stop
        while not stop.finishing and len(self.running) < self.at_once and (unit := self._next()) is not None:
            if self.run.lock is not None:
                self.run.lock.check()
            if unit.name not in self.retried:
                self.run.progress.started(unit)
            if not is_remote(launcher):  # what an earlier run left, and is measured again, is kept until now
                folder.record(unit).unlink(missing_ok=True)
            self.running.append(launcher.start(unit, folder, self.limits[unit.name]))

    def _next(self) -> UnitOfWork | None:
        """Take the first unit that does not need the record of a pending one."""
        for at, unit in enumerate(self.waiting):
            if unit.protocol.train is None or unit.protocol.train.rate_from not in self.pending:
                del self.waiting[at]
                return unit
        return None

    def _ask(self) -> None:
        """Ask the training units that run to end at a checkpoint, once."""
        if self.told:
            return
        self.told = True
        for handle in self.running:
            if handle.unit.facts.trains:
                self.run.launcher.ask(handle)

    def _end(self, handle: Started) -> None:
        """Take the record of a unit that ended, or write one."""
        run, unit = self.run, handle.unit
        timed_out = handle.running
        run.launcher.end(handle)
        self.running.remove(handle)
        if run.lock is not None:
            run.lock.check()
        if not is_remote(run.launcher):  # clocks of other machines began elsewhere
            check_clock(handle.record, unit, time.monotonic())
        log = run.folder.log(unit)
        if not handle.record.exists():
            if handle.exitcode == CannotWrite.exit_code:
                raise cannot_write(run.folder, unit)
            if run.stop.finishing and handle.exitcode in ENDED_AS_ASKED:
                self.waiting.append(unit)  # a resumed run continues from its checkpoint
                return
            limit = in_words(self.limits, unit.name)
            cause = handle.died or death(handle.exitcode, timed_out=timed_out, log=log, limit=limit)
            keep_log(log)
            shipped = unit.comparison.shipped
            if handle.died is None and shipped and len(shipped) < len(unit.comparison.arms):
                # A user's model or router may have killed the process: what is shipped runs again without it.
                self.retried[unit.name] = cause
                self.waiting.appendleft(unit.shipped)
                return
            write_failure(unit, run.folder, cause)
        if unit.name in self.retried:  # the planned unit has the user's arms too
            add_failed(self.planned[unit.name], run.folder, self.retried[unit.name])
        drop_empty_log(log)
        self.pending.discard(unit.name)
        if run.asker is not None:
            run.asker.ended(unit)
        run.progress.ended(unit)
        if more := self._asked(unit.group):
            self.waiting = self._in_turn([*self.waiting, *more])

    def _asked(self, group: str) -> list[UnitOfWork]:
        """Units that a group asks for now and has not asked for before; the progress then counts them."""
        if self.run.asker is None or group not in self.undecided:
            return []
        decided = self.run.asker.decide(group)
        if decided.ended:
            self.undecided.discard(group)
        later = self.later.pop(group, [])
        more = [unit for unit in later if unit.name in decided.asked]
        self.later[group] = [unit for unit in later if unit.name not in decided.asked]
        self.turns |= decided.asked
        if more or decided.ended:
            self.run.progress.added(group if decided.ended else "", more)
        return more

    def _in_turn(self, units: Sequence[UnitOfWork]) -> deque[UnitOfWork]:
        """Units by their turn, then as planned: launches of one cell lie between those of others."""
        return deque(sorted(units, key=lambda unit: (self.turns.get(unit.name, 0), self.place[unit.name])))


def cannot_write(folder: RunFolder, unit: UnitOfWork) -> ModbenchError:
    """The error for a unit that could not write its files, in the words of the system where this process meets it too."""
    probe = folder.units / f".probe.{unit.name[:100]}"
    why = "its disk is full or can no longer be written"
    try:
        probe.write_bytes(bytes(4096))
    except OSError as error:
        why = error.strerror or why
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
    return ModbenchError(f"{folder.path}: {unit.name} could not write its record: {why}.")


def drop_empty_log(log: Path) -> None:
    """Remove the log of a process that printed nothing."""
    if log.exists() and log.stat().st_size == 0:
        log.unlink()


def keep_log(log: Path) -> None:
    """Rename the log, since a second try writes a log of its own."""
    if log.exists():
        log.replace(log.with_suffix(".died.log"))


def write_failure(unit: UnitOfWork, folder: RunFolder, died: Death) -> None:
    """Write the record for a process that died before it could."""
    lost = tuple(_lost(unit, unit, died, folder.record(unit)))
    folder.write_record(Record(unit=unit, started=now(), wall_s=0.0, died=died, outcomes=lost))


def add_failed(planned: UnitOfWork, folder: RunFolder, died: Death) -> None:
    """Write the planned unit's record: what the second try measured, and the user's arms as failed."""
    file = folder.record(planned)
    record = read_record(file, planned.shipped)
    outcomes = (*record.outcomes, *_lost(planned, record.unit, died, file, only_own=True))
    again = died.model_copy(update={"again": True})
    # If the second try died too, its record says so and nothing was measured.
    update = {"unit": planned, "outcomes": outcomes, "died": record.died or again}
    folder.write_record(record.model_copy(update=update))


def _lost(
    unit: UnitOfWork, logged: UnitOfWork, died: Death, file: Path, *, only_own: bool = False
) -> Iterator[Outcome]:
    """Failed outcomes for every case and metric of a unit whose process died. Logs lie in folders as records do."""
    part = "" if file.parent.name == "units" else f"{file.parent.name}/"
    log = f"logs/{part}{logged.name}.died.log"
    there = (
        (file.parent.parent if part else file.parent).parent / log
    ).exists()  # a job may have ended before it wrote one
    reason = f"{died.reason}; see {log}" if there else died.reason
    why = Missing(status="failed", kind=died.kind, reason=reason)
    for case in unit.comparison.arms:
        if only_own and not case.facts.runs_user_code:
            continue
        for made in unit.facts.makes:
            yield missing(case, made, why)


def death(exitcode: int | None, *, timed_out: bool, log: Path | None = None, limit: str = "its time limit") -> Death:
    """Describe how a process without a record ended, with what its log says of a lost device."""
    if timed_out or exitcode == -signal.SIGALRM:  # its own alarm, should this process have been stopped
        return Death(kind="timeout", reason=f"the process exceeded {limit} and was ended")
    if exitcode is not None and exitcode < 0:
        name = signal.Signals(-exitcode).name
        if -exitcode == signal.SIGKILL:
            return Death(
                kind="oom", reason=f"the process was killed ({name}): the machine most likely ran out of memory"
            )
        return Death(kind="crash", reason=f"the process died of {name}")
    if exitcode == DeviceLost.exit_code:
        said = device_lost_message(log.read_text(encoding="utf-8", errors="replace")) if log and log.exists() else ""
        return Death(kind="crash", reason=f"the GPU could not be used any more ({said or 'it did not say why'})")
    return Death(kind="crash", reason=f"the process ended with exit code {exitcode} and left no record")


def check_clock(file: Path, unit: UnitOfWork, ended_s: float) -> None:
    """Compare the unit's own duration with the time that it lived, and note in its record where they disagree.

    Only records that hold a user's model are read: ours change no clock, and a parent that works disturbs what is timed next.

    Args:
        file: the unit's record; there may be none.
        unit: the unit.
        ended_s: when its end was seen, on this process's monotonic clock.
    """
    own = {case.id for case in unit.comparison.arms if case.is_user_model}
    if not own or not file.exists():
        return
    made_in: Pass = catalogue.load("passes", unit.made_in)
    if "clock_changed" not in made_in.notes.model_fields:
        return
    body = json.loads(file.read_text(encoding="utf-8"))
    if body.get("began_s") is None:
        return
    lived_s = ended_s - body["began_s"]
    # A process may take long to end on a loaded machine: until when it measured, the file system knows as well.
    since_s = max(0.0, time.time() - file.stat().st_ctime)
    measured_s = monotonic() - since_s - body["began_s"]
    said, *others = (
        disagreement(body["wall_s"], each_s, "the process that started it", ENDING_S)
        for each_s in (lived_s, measured_s)
    )
    if said is None or None in others:
        return

    def note(body: dict[str, Any]) -> None:
        body["wall_s"] = lived_s  # what the unit says itself may be less than nothing
        for outcome in body["outcomes"]:
            if outcome["case"] in own and outcome["status"] == "ok":
                outcome["notes"]["clock_changed"] = said

    edit(file, note)
