"""Runs the jobs of one phase: starts them, waits for them, and sees that each leaves a record.

Of a job whose process died before it wrote one, its parent writes it, with the kind of failure. Between two timed jobs, while
no job runs, rules decide which others do.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic
from typing import Protocol as Interface

from modbench.harness.core.atomic_files import now
from modbench.harness.core.errors import ModbenchError
from modbench.harness.domain.case import Job
from modbench.harness.domain.records import Death, Missing, Outcome, Record
from modbench.harness.execution.launcher import Launcher, Started, is_remote
from modbench.harness.execution.limits import in_words
from modbench.harness.execution.stopping import Stop
from modbench.harness.machine.process.graceful_stop import (
    STOP_SIGNAL,
    CannotWrite,
    DeviceLost,
    ProcessChangedError,
    Stopped,
    message,
)
from modbench.harness.planning.plan import Plan
from modbench.harness.registry import catalogue
from modbench.harness.results import rule_decisions
from modbench.harness.results.lock import Lock
from modbench.harness.results.measured_or_missing import missing
from modbench.harness.results.record_files import read_record
from modbench.harness.results.rule_decisions import Decided
from modbench.harness.results.run_folder import RunFolder

POLL_S = 1.0
# The signal kills a worker whose handler is not set yet; such a worker has done nothing.
ENDED_AS_ASKED = {Stopped.exit_code, *([-STOP_SIGNAL] if STOP_SIGNAL is not None else [])}


class Asker:
    """Asks the rules of a plan, and keeps their decisions.

    Args:
        plan: the whole plan, of a resumed run too.
        folder: holds records and decisions.
        jobs: those that this run measures. Until one has ended, its record in the folder is old or incomplete.

    Attributes:
        cpu_s: CPU time spent on decisions.
        decided: decisions so far, by group.
    """

    def __init__(self, plan: Plan, folder: RunFolder, jobs: Iterable[Job] = ()) -> None:
        self.suite, self.folder, self.cpu_s = plan.suite, folder, 0.0
        self._rules = {group.name: group.rule for group in plan.groups}
        self._jobs: dict[str, list[Job]] = {name: [] for name in self._rules}
        for job in plan.jobs:
            if job.group:
                self._jobs[job.group].append(job)
        self.decided = rule_decisions.read(folder.path, plan)
        self._open = {job.name for job in jobs}
        self._records: dict[str, Record] = {}

    def ended(self, job: Job) -> None:
        """A job has ended, and its record is complete."""
        self._open.discard(job.name)

    def decide_all(self) -> None:
        """Decide about every group, also those of which no job is left to run: their decisions may have been removed."""
        for group in self._rules:
            self.decide(group)

    def decide(self, group: str) -> Decided:
        """Return the decision about a group, with all that follows from its records now."""
        name = self._rules[group]
        before = decided = self.decided.get(group, Decided(rule=name, group=group))
        start = time.process_time()
        while not decided.ended and (records := self._of(group, decided)) is not None:
            decision = catalogue.load("adaptive_rules", name).decide(self.suite, self._jobs[group], records)
            turn = max(decided.asked.values(), default=-1) + 1
            more = {job: turn + decision.turns.get(job, 0) for job in decision.asked if job not in decided.asked}
            if foreign := more.keys() - {job.name for job in self._jobs[group] if job.rule}:
                raise ModbenchError(f"the rule {name!r} asks for {min(foreign)!r}, which is no job of {group}.")
            decided = Decided(
                rule=name,
                group=group,
                asked=decided.asked | more,
                ended=decision.ended or not more,
                why=decision.why,
                found=decision.found,
            )
        if decided is not before:
            rule_decisions.write(self.folder.path, decided)
            self.decided[group] = decided
        if decided.ended:
            for job in self._jobs[group]:
                self._records.pop(job.name, None)
        self.cpu_s += time.process_time() - start
        return decided

    def _of(self, group: str, decided: Decided) -> dict[str, Record] | None:
        """Records of the jobs that run in any case and of those that were asked for; None until all have ended."""
        found = {}
        for job in self._jobs[group]:
            if job.rule and job.name not in decided.asked:
                continue
            if job.name not in self._records:
                file = self.folder.record(job)
                if job.name in self._open or not file.exists():
                    return None
                self._records[job.name] = read_record(file, job)
            found[job.name] = self._records[job.name]
        return found


class Progress(Interface):
    """Receives events while jobs run."""

    def started(self, job: Job) -> None:
        """Called when a job starts."""

    def tick(self) -> None:
        """Called about once a second."""

    def added(self, group: str, jobs: Sequence[Job]) -> None:
        """Called with jobs that were asked for; with their group if that asks for nothing more, else without."""

    def ended(self, job: Job) -> None:
        """Called when a job has its record."""


@dataclass(frozen=True)
class Slots:
    """The jobs of a phase.

    Attributes:
        jobs: in order.
        at_once: how many may run at once.
        timed: whether they are timed, so that this process must stay idle meanwhile.
        ranks: the most processes that share one of the jobs.
    """

    jobs: tuple[Job, ...]
    at_once: int
    timed: bool = False
    ranks: int = 1


@dataclass(frozen=True)
class Run(Generic[Started]):
    """The parts that all phases of a run share.

    Attributes:
        launcher: starts jobs.
        folder: where records are written.
        progress: receives events.
        asker: lets rules decide which jobs run; None: all jobs are run.
        stop: what signals asked for.
        lock: the lock on the folder; None: nobody else knows it.
    """

    launcher: Launcher[Started]
    folder: RunFolder
    progress: Progress
    asker: Asker | None = None
    stop: Stop = field(default_factory=Stop)
    lock: Lock | None = None

    def phase(self, slots: Slots, limits: Mapping[str, float]) -> None:
        """Run the jobs of a phase.

        Args:
            slots: what to run, and how many at once.
            limits: seconds after which a job counts as hanging.

        Raises:
            KeyboardInterrupt: if a signal asked to stop, once no job runs any more.
            IncompleteError: if another runner took the folder.
            ModbenchError: if a job could not write its files.
        """
        _Phase(self, slots, limits).go()


class _Phase(Generic[Started]):
    """The state of a phase that runs."""

    def __init__(self, run: Run[Started], slots: Slots, limits: Mapping[str, float]) -> None:
        self.run, self.slots, self.limits = run, slots, limits
        self.at_once = run.launcher.at_once(slots.at_once) if slots.ranks == 1 else slots.at_once
        # Others wait for the jobs that find learning rates.
        self.first = {job.protocol.train.rate_from for job in slots.jobs if job.protocol.train} - {None}
        largest_first = sorted(slots.jobs, key=lambda job: (job.name not in self.first, -job.flops))
        jobs = largest_first if self.at_once > 1 and not slots.timed else list(slots.jobs)
        self.planned = {job.name: job for job in jobs}
        self.grid_point = {job.name: at for at, job in enumerate(jobs)}
        self.later: dict[str, list[Job]] = {}
        self.turns: dict[str, int] = {}
        waiting = jobs if run.asker is None else [job for job in jobs if not job.rule]
        for job in jobs if run.asker is not None else ():
            if job.rule:
                self.later.setdefault(job.group, []).append(job)
        self.undecided = {job.group for job in jobs} - {""} if run.asker is not None else set[str]()
        for group in sorted(self.undecided):  # with what was decided before this run was resumed
            waiting += self._asked(group)
        self.waiting = self._in_turn(waiting)
        self.pending = {job.name for job in waiting} & self.first
        self.running: list[Started] = []
        self.retried: dict[str, Death] = {}
        self.told = False

    def go(self) -> None:
        """Run until every job has its record, or a signal asks to stop."""
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
                if not self.running:  # a signal came before the next job started
                    continue
                ended = launcher.wait(self.running, POLL_S)
                self.run.progress.tick()
                for handle in ended:
                    self._end(handle)
            if self.waiting or self.running:
                stop.ending = True
                raise KeyboardInterrupt
        finally:  # with jobs that run only after an interrupt or an error
            stop.ending = stop.ending or bool(self.running)
            if is_remote(launcher) and self.running:
                stop.left = launcher.leave(self.running)
            else:
                for handle in self.running:
                    launcher.end(handle)

    def _start(self) -> None:
        """Start what may run now."""
        launcher, folder, stop = self.run.launcher, self.run.folder, self.run.stop
        while not stop.finishing and len(self.running) < self.at_once and (job := self._next()) is not None:
            if self.run.lock is not None:
                self.run.lock.check()
            if job.name not in self.retried:
                self.run.progress.started(job)
            if not is_remote(launcher):  # what an earlier run left, and is measured again, is kept until now
                folder.record(job).unlink(missing_ok=True)
            self.running.append(launcher.start(job, folder, self.limits[job.name]))

    def _next(self) -> Job | None:
        """Take the first job that does not need the record of a pending one."""
        for at, job in enumerate(self.waiting):
            if job.protocol.train is None or job.protocol.train.rate_from not in self.pending:
                del self.waiting[at]
                return job
        return None

    def _ask(self) -> None:
        """Ask the training jobs that run to end at a checkpoint, once."""
        if self.told:
            return
        self.told = True
        for handle in self.running:
            if handle.job.facts.trains:
                self.run.launcher.ask(handle)

    def _end(self, handle: Started) -> None:
        """Take the record of a job that ended, or write one."""
        run, job = self.run, handle.job
        timed_out = handle.running
        run.launcher.end(handle)
        self.running.remove(handle)
        if run.lock is not None:
            run.lock.check()
        log = run.folder.log(job)
        if not handle.record.exists():
            if handle.exitcode == CannotWrite.exit_code:
                raise cannot_write(run.folder, job)
            if run.stop.finishing and handle.exitcode in ENDED_AS_ASKED:
                self.waiting.append(job)  # a resumed run continues from its checkpoint
                return
            limit = in_words(self.limits, job.name)
            cause = handle.died or death(handle.exitcode, timed_out=timed_out, log=log, limit=limit)
            keep_log(log)
            shipped = job.comparison.shipped
            if handle.died is None and shipped and len(shipped) < len(job.comparison.variants):
                # A user's model or router may have killed the process: what is shipped runs again without it.
                self.retried[job.name] = cause
                self.waiting.appendleft(job.shipped)
                return
            write_failure(job, run.folder, cause)
        if job.name in self.retried:  # the planned job has the user's variants too
            add_failed(self.planned[job.name], run.folder, self.retried[job.name])
        drop_empty_log(log)
        self.pending.discard(job.name)
        if run.asker is not None:
            run.asker.ended(job)
        run.progress.ended(job)
        if more := self._asked(job.group):
            self.waiting = self._in_turn([*self.waiting, *more])

    def _asked(self, group: str) -> list[Job]:
        """Jobs that a group asks for now and has not asked for before; the progress then counts them."""
        if self.run.asker is None or group not in self.undecided:
            return []
        decided = self.run.asker.decide(group)
        if decided.ended:
            self.undecided.discard(group)
        later = self.later.pop(group, [])
        more = [job for job in later if job.name in decided.asked]
        self.later[group] = [job for job in later if job.name not in decided.asked]
        self.turns |= decided.asked
        if more or decided.ended:
            self.run.progress.added(group if decided.ended else "", more)
        return more

    def _in_turn(self, jobs: Sequence[Job]) -> deque[Job]:
        """Jobs by their turn, then as planned: processes of one cell lie between those of others."""
        return deque(sorted(jobs, key=lambda job: (self.turns.get(job.name, 0), self.grid_point[job.name])))


def cannot_write(folder: RunFolder, job: Job) -> ModbenchError:
    """The error for a job that could not write its files, in the words of the system where this process meets it too."""
    probe = folder.jobs / f".probe.{job.name[:100]}"
    why = "its disk is full or can no longer be written"
    try:
        probe.write_bytes(bytes(4096))
    except OSError as error:
        why = error.strerror or why
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
    return ModbenchError(f"{folder.path}: {job.name} could not write its record: {why}.")


def drop_empty_log(log: Path) -> None:
    """Remove the log of a process that printed nothing."""
    if log.exists() and log.stat().st_size == 0:
        log.unlink()


def keep_log(log: Path) -> None:
    """Rename the log, since a second try writes a log of its own."""
    if log.exists():
        log.replace(log.with_suffix(".died.log"))


def write_failure(job: Job, folder: RunFolder, died: Death) -> None:
    """Write the record for a process that died before it could."""
    lost = tuple(_lost(job, job, died, folder.record(job)))
    folder.write_record(Record(job=job, started=now(), wall_s=0.0, died=died, outcomes=lost))


def add_failed(planned: Job, folder: RunFolder, died: Death) -> None:
    """Write the planned job's record: what the second try measured, and the user's variants as failed."""
    file = folder.record(planned)
    record = read_record(file, planned.shipped)
    outcomes = (*record.outcomes, *_lost(planned, record.job, died, file, only_own=True))
    again = died.model_copy(update={"again": True})
    # If the second try died too, its record says so and nothing was measured.
    update = {"job": planned, "outcomes": outcomes, "died": record.died or again}
    folder.write_record(record.model_copy(update=update))


def _lost(job: Job, logged: Job, died: Death, file: Path, *, only_own: bool = False) -> Iterator[Outcome]:
    """Failed outcomes for every case and metric of a job whose process died. Logs lie in folders as records do."""
    part = "" if file.parent.name == "jobs" else f"{file.parent.name}/"
    log = f"logs/{part}{logged.name}.died.log"
    there = (
        (file.parent.parent if part else file.parent).parent / log
    ).exists()  # a job may have ended before it wrote one
    reason = f"{died.reason}; see {log}" if there else died.reason
    why = Missing(status="failed", kind=died.kind, reason=reason)
    for case in job.comparison.variants:
        if only_own and not case.facts.runs_user_code:
            continue
        for made in job.facts.makes:
            yield missing(case, made, why)


def death(exitcode: int | None, *, timed_out: bool, log: Path | None = None, limit: str = "its time limit") -> Death:
    """Describe how a process without a record ended, with what its log says of a lost device or a changed process."""
    if timed_out or exitcode == -signal.SIGALRM:  # by its minder, should this process have been stopped
        return Death(kind="timeout", reason=f"the process exceeded {limit} and was ended")
    if exitcode is not None and exitcode < 0:
        name = signal.Signals(-exitcode).name
        if -exitcode == signal.SIGKILL:
            return Death(
                kind="oom", reason=f"the process was killed ({name}): the machine most likely ran out of memory"
            )
        return Death(kind="crash", reason=f"the process died of {name}")
    told = log.read_text(encoding="utf-8", errors="replace") if log and log.exists() else ""
    if exitcode == ProcessChangedError.job_code:
        return Death(
            kind="error", reason=f"its process was ended: {message(ProcessChangedError, told) or 'it did not say why'}"
        )
    if exitcode == DeviceLost.exit_code:
        said = message(DeviceLost, told)
        return Death(kind="crash", reason=f"the GPU could not be used any more ({said or 'it did not say why'})")
    return Death(kind="crash", reason=f"the process ended with exit code {exitcode} and left no record")
