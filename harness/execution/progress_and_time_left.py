"""The progress of a run while it goes on: what its events count, the time left, and `progress.json`."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Protocol as Interface
from typing import Self

from modbench.harness.core.atomic_files import now
from modbench.harness.core.errors import UsageError, in_short
from modbench.harness.core.masking import masked
from modbench.harness.core.units import counted
from modbench.harness.domain.case import Job
from modbench.harness.domain.records import Record
from modbench.harness.execution.limits import Limits
from modbench.harness.execution.run_phase import Slots
from modbench.harness.execution.run_time import RunTime
from modbench.harness.execution.stopping import Stop
from modbench.harness.machine.process.graceful_stop import Stopped
from modbench.harness.planning.plan import Plan
from modbench.harness.results import progress_file
from modbench.harness.results.json_files import DamagedError
from modbench.harness.results.lock import Lock
from modbench.harness.results.progress_file import Failure, Group, Running, RunProgress
from modbench.harness.results.record_files import read_record
from modbench.harness.results.rule_decisions import Decided
from modbench.harness.results.run_folder import RunFolder

# Seconds between two writes while nothing happens; beside timed jobs and for other machines they are further apart, so that
# this process stays idle.
EVERY_S, SELDOM_S = 1.0, 10.0
# Share of the predicted work from which on the time that it took is the better estimate.
LEARNT = 0.05


class Display(Interface):
    """Shows the progress of a run."""

    def show(self, now: RunProgress, ended: str = "") -> None:
        """Called after every event and about once a second, with the name of the job that has just ended, if one has."""

    def complete(self, processes: Sequence[Job]) -> None:
        """Called with the processes of a timed comparison when the last has ended, before another job starts."""


class Tracker:
    """Receives the events of a run, counts, shows the progress, and writes it for others. Use as a context manager.

    Args:
        plan: what this runner runs, and what its rules may ask for.
        slots: its units by phase.
        folder: the run folder.
        whole: the plan of an interrupted run, of which this is the rest; None: this is the whole.
        kept: records of the jobs that an earlier runner finished.
        decided: what rules have decided so far, by group; it grows while jobs run.
        display: shows the progress; None: nothing does.
        limits: learn from records how fast this machine is; None: nothing does.
        remote: whether jobs run on other machines.
        resumable: whether `modbench resume` can continue the run.
        stop: what signals ask for.
        lock: the lock on the folder; whoever lost it writes no more.
        clock: time in s.

    Attributes:
        cpu_s: CPU time that the display took for complete comparisons.
    """

    def __init__(
        self,
        plan: Plan,
        slots: Sequence[Slots],
        folder: RunFolder,
        *,
        whole: Plan | None = None,
        kept: Sequence[Record] = (),
        decided: Mapping[str, Decided] | None = None,
        display: Display | None = None,
        limits: Limits | None = None,
        remote: bool = False,
        resumable: bool = True,
        stop: Stop | None = None,
        lock: Lock | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder, self.display, self.limits, self.lock, self.clock = folder, display, limits, lock, clock
        self.stop = stop or Stop()
        self.decided = {} if decided is None else decided  # an empty one grows
        title = f"{plan.suite.name}, {plan.suite.effort}, {plan.device}"
        self.now = RunProgress(title=title, resumable=resumable, started=now(), remote=remote)
        self.cpu_s = 0.0
        # Processes of each timed comparison: those that have ended, and those that have not.
        self._ended: dict[str, list[Job]] = {}
        self._waiting: dict[str, set[str]] = {}
        for job in plan.jobs:
            if job.facts.timed and job.series and not remote and not job.rule:
                self._waiting.setdefault(job.series, set()).add(job.name)
        self._running: dict[str, Running] = {}
        self._timing: set[str] = set()
        self._predict(plan, slots)
        self._start, self._written, self._unwritten = clock(), -SELDOM_S, True
        self._groups: dict[str, Group] = {}
        self._count(whole or plan, {record.job.name: record for record in kept})

    def _predict(self, plan: Plan, slots: Sequence[Slots]) -> None:
        """The predicted seconds of all jobs: of those that run, and of those that each rule may ask for."""
        run_time, shares = RunTime(plan), plan.shares("most")
        self._load = run_time.load
        self._seconds = {job.name: run_time.seconds(job, each.at_once) for each in slots for job in each.jobs}
        self._rules = {job.name: job.group for job in plan.jobs if job.rule}
        self._open = dict.fromkeys(self._rules.values(), 0.0)
        for name, rule in self._rules.items():
            self._open[rule] += self._seconds[name] * shares[name]
        self._total = sum(seconds for name, seconds in self._seconds.items() if name not in self._rules)
        self._done = self._took = 0.0

    def _count(self, whole: Plan, records: dict[str, Record]) -> None:
        for job in whole.jobs:
            group = self._groups.setdefault(job.made_in, Group(name=job.made_in))
            if job.name not in self._seconds:  # an earlier runner finished it
                self._finish(job, failures(records[job.name], self.folder) if job.name in records else [])
            elif job.name not in self._rules:
                group.waiting += 1

    def __enter__(self) -> Self:
        self._changed()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Write how the run ended."""
        self._refresh()
        if self.limits is not None and self._done > LEARNT * self._total:
            self.limits.loaded(self._took, self._done)
        self.now.note = masked(self.stop.left)
        if error is None:
            self.now.state = "finished"
        elif isinstance(error, KeyboardInterrupt | Stopped):
            self.now.state = "stopped"
        else:
            self.now.state, self.now.note = "failed", masked(in_short(error) or type(error).__name__)
        if not self.now.remote:
            for group in self._groups.values():
                group.waiting, group.running = group.waiting + group.running, 0
            self.now.running = []
        self._write()

    def started(self, job: Job) -> None:
        """A job starts."""
        group = self._groups[job.made_in]
        group.waiting, group.running = group.waiting - 1, group.running + 1
        self._running[job.name] = Running(job=job.name, since=now())
        if job.facts.timed and not self.now.remote:
            self._timing.add(job.name)
        self._changed()

    def tick(self) -> None:
        """Show the time left, and write it if a signal has come, or the last time is long enough ago."""
        before = self.now.state
        self._refresh()
        self._show()
        seldom = self._timing or (self.now.remote and not self._unwritten)
        if self.now.state != before or self.clock() - self._written >= (SELDOM_S if seldom else EVERY_S):
            self._write()

    def added(self, group: str, jobs: Sequence[Job]) -> None:
        """A rule asked for jobs; of a named group it asks for no more."""
        for job in jobs:
            seconds, rule = self._seconds[job.name], job.group
            self._groups[job.made_in].waiting += 1
            self._total += seconds
            self._open[rule] = max(0.0, self._open[rule] - seconds)
            self._waiting.setdefault(job.series, set()).add(job.name)
        self._open.pop(group, None)
        self._changed()
        if not jobs:
            for series, ended in self._ended.items():
                if ended[0].group == group:
                    self._complete(series)

    def ended(self, job: Job) -> None:
        """A job has its record: count it, and learn from it."""
        self._groups[job.made_in].running -= 1
        self._running.pop(job.name, None)
        self._timing.discard(job.name)
        self._done += self._seconds[job.name]
        self._took = max(0.0, self.clock() - self._start)
        try:
            record = read_record(self.folder.record(job), job)
        except (OSError, UsageError) as error:  # whoever reads it for its numbers says so
            what = error.problem if isinstance(error, DamagedError) else in_short(error)
            self._finish(job, [Failure(job=job.name, case="", metrics=[], reason=f"its record is damaged: {what}")])
        else:
            self._finish(job, failures(record, self.folder))
            if self.limits is not None:
                self.limits.learn(job, record)
        self._changed(job.name)
        if job.series in self._waiting:
            self._ended.setdefault(job.series, []).append(job)
            self._waiting[job.series].discard(job.name)
            if job.group not in self._open:
                self._complete(job.series)

    def _complete(self, series: str) -> None:
        """Hand over a timed comparison whose processes have all ended, once."""
        if self.display is not None and not self._waiting.get(series, {""}):
            start = time.process_time()
            self.display.complete(self._ended[series])
            self.cpu_s += time.process_time() - start
            del self._waiting[series]

    def _finish(self, job: Job, failed: Sequence[Failure]) -> None:
        group = self._groups[job.made_in]
        group.done, group.failed = group.done + (not failed), group.failed + bool(failed)
        room = progress_file.MOST_FAILURES - len(self.now.failures)
        self.now.failures += failed[:room]
        self.now.failures_left_out += len(failed[room:])

    def _changed(self, ended: str = "") -> None:
        """Show and write what changed; thousands of jobs that are submitted at once are shown and written together."""
        self._unwritten = True
        due = not self.now.remote or self.clock() - self._written >= EVERY_S
        if due or ended:
            self._refresh()
            self._show(ended)
        if due:
            self._write()

    def _show(self, ended: str = "") -> None:
        if self.display is not None:
            self.display.show(self.now, ended)

    def _refresh(self) -> None:
        """Bring the progress up to date."""
        found = self.now
        found.elapsed_s = max(0.0, self.clock() - self._start)
        found.state = "stopping" if self.stop.finishing else "running"
        found.groups = [group for group in self._groups.values() if group.jobs]
        found.running = [*itertools.islice(self._running.values(), progress_file.MOST_RUNNING)]
        found.decisions = [
            f"{group}: {each.why or counted(len(each.asked), 'job')}"
            for group, each in self.decided.items()
            if each.asked or each.ended
        ]
        found.more = bool(self._open)
        learnt = self._done > LEARNT * self._total
        # How many jobs a cluster runs at once shows only in how fast they end.
        known = learnt or not found.remote
        scale = found.elapsed_s / self._done if learnt else 1.0
        # Until this run has shown it, work may take as much longer as earlier runs and the first jobs did.
        busy = (
            scale if learnt or found.remote else max(scale, self._load, self._took / self._done if self._done else 0.0)
        )
        left = max(0.0, self._total - self._done)
        more = left + sum(self._open.values())
        found.left_s, found.most_s = (left * scale, more * busy) if known else (None, None)
        found.left_reason = "" if known else "too few jobs have ended on the other machines"

    def _write(self) -> None:
        self._written, self._unwritten = self.clock(), False
        if self.lock is None or self.lock.mine:
            self.now.written = now()
            progress_file.write(self.folder.path, self.now)


def failures(record: Record, folder: RunFolder) -> list[Failure]:
    """The failed cells of a record by case and reason; of a process that died, all of them at least."""
    by_cause: dict[tuple[str, str], list[str]] = {}
    for outcome in record.outcomes:
        if outcome.status == "failed":
            by_cause.setdefault((outcome.case, outcome.reason or ""), []).append(outcome.metric)
    if not by_cause and record.died is not None:
        by_cause["", record.died.reason] = []
    logs = (folder.log(record.job).with_suffix(ending) for ending in (".died.log", ".log"))
    log = next((str(file.relative_to(folder.path)) for file in logs if file.exists()), None)
    return [
        Failure(job=record.job.name, case=case, metrics=metrics, reason=reason[: progress_file.MOST_TEXT], log=log)
        for (case, reason), metrics in by_cause.items()
    ]
