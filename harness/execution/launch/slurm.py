"""Submits units to a Slurm cluster: one array of jobs for each group of units that need the same resources.

What was started since the last `wait` is submitted there. Whether a unit has ended is read from the run folder first; Slurm is
asked second, and accounting is not needed. `jobs/` in the run folder says which job has which units, so a run that is resumed
waits for jobs that are still queued or running instead of starting their units again.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from modbench.harness.domain.case import Device, UnitOfWork
from modbench.harness.domain.records import Death, Failure
from modbench.harness.execution.launch.local import LocalLauncher
from modbench.harness.execution.launching import MakeLauncher
from modbench.harness.execution.slurm import options as asked_for
from modbench.harness.execution.slurm import queue
from modbench.harness.execution.slurm.submitting import Group, groups, refuse_without_submitit, send
from modbench.harness.results import attempts
from modbench.harness.results.attempts import Attempt, Submission
from modbench.harness.results.run_folder import RunFolder

# Seconds between two questions to Slurm: often at first, then seldom, since its controller serves the whole site.
SOONEST_S, LATEST_S = 1.0, 30.0
LOOK_S = 0.5
# A job that Slurm no longer knows counts as gone after this time: a record may take as long to be seen on a shared folder.
GRACE_S = 30.0


@dataclass
class SlurmHandle:
    """A unit that waits for a job or runs in one.

    Attributes:
        unit: the unit.
        record: path of its record.
        limit_s: seconds after which it counts as hanging, once it runs.
        submission: the submission that has it; None until it is submitted.
        task: its task there.
        tries: starts of its earlier jobs in this run of modbench.
        gone: when its job was first seen to have ended without a record, on the monotonic clock.
        exitcode: exit code of its process.
        hung: whether its job ended it at its limit.
        begun: whether Slurm has said that its job runs.
        died: how it ended, if without a record and by no fault of its process.
    """

    unit: UnitOfWork
    record: Path
    limit_s: float
    submission: Submission | None = None
    task: int = 0
    tries: int = 0
    begun: bool = False
    gone: float | None = None
    exitcode: int | None = None
    hung: bool = False
    died: Death | None = None

    @property
    def running(self) -> bool:
        """Whether it was ended because it hung: other units that are handed back have ended."""
        return self.hung

    @property
    def job(self) -> str:
        """Slurm's id of its job; empty if it has none."""
        return "" if self.submission is None else self.submission.id_of(self.task)


@dataclass
class _Queue:
    """What Slurm said last, and when it is asked again."""

    states: dict[tuple[str, int], tuple[str, str]] = field(default_factory=dict)
    next_s: float = 0.0
    pause_s: float = SOONEST_S
    silent: bool = False

    def soon(self) -> None:
        self.next_s, self.pause_s = 0.0, SOONEST_S


class SlurmLauncher:
    """Submits units as jobs.

    Args:
        cold: of no matter: a job starts a fresh interpreter for every unit.
        threads: CPU threads of a unit: the default of `--cpus-per-task`.
        device: where the units run.
        options: sbatch's options, and a few of modbench's.

    Raises:
        UsageError: without Slurm or submitit, or if sbatch refuses an option.
    """

    is_remote = True
    inside: MakeLauncher = LocalLauncher  # it starts units inside a job

    def __init__(self, *, cold: bool, threads: int, device: Device = "cpu", options: Sequence[str] = ()) -> None:
        del cold
        queue.require()
        refuse_without_submitit()
        self.options = asked_for.parse(options)
        queue.refuse_unknown(self.options.words())
        self.threads, self.device = threads, device
        self._largest = queue.largest_array()
        self._folder: RunFolder | None = None
        self._known: dict[str, tuple[Submission, int]] = {}
        self._waiting: list[SlurmHandle] = []
        self._queue = _Queue()

    def refuse(self, units: Sequence[UnitOfWork]) -> None:
        """Refuse units whose ranks cannot be divided among the nodes that were asked for.

        Raises:
            UsageError: if there is one.
        """
        groups(units, self.threads, self.options)

    def at_once(self, usual: int) -> int:
        """How many units may run at once: all, as Slurm decides."""
        del usual
        return sys.maxsize

    def start(self, unit: UnitOfWork, folder: RunFolder, timeout_s: float) -> SlurmHandle:
        """Take a unit: it is submitted at the next `wait`, unless a job of an earlier submitter has it."""
        if self._folder is None or self._folder.path != folder.path:
            self._folder = RunFolder(folder.path.resolve())
            self._known = self._at_large()
        handle = SlurmHandle(unit, folder.record(unit), timeout_s)
        if unit.name in self._known:
            handle.submission, handle.task = self._known.pop(unit.name)
        elif not handle.record.exists():  # a job may have written it since the folder was read
            self._waiting.append(handle)
        return handle

    def wait(self, handles: list[SlurmHandle], timeout_s: float) -> list[SlurmHandle]:
        """Submit what was started, then block until a unit has ended or the time is up; return the units that ended."""
        until = time.monotonic() + timeout_s
        while True:
            self._submit(handles)
            present = {
                path for folder in {handle.record.parent for handle in handles} for path in folder.glob("*.json")
            }
            ended = [handle for handle in handles if handle.record in present and self._complete(handle)]
            if not ended:
                ended = self._ask([handle for handle in handles if handle.submission is not None])
            if ended or time.monotonic() >= until:
                return ended
            time.sleep(max(0.0, min(LOOK_S, until - time.monotonic())))

    def ask(self, handle: SlurmHandle) -> None:
        """Ask a training unit to save a checkpoint; its job then goes back into the queue."""
        if handle.job:
            queue.tell(handle.job)

    def end(self, handle: SlurmHandle) -> None:
        """Nothing is left to do: jobs end their units, and only units that have ended are handed back."""

    def leave(self, handles: list[SlurmHandle]) -> str:
        """What to tell a user who leaves while jobs are queued or running."""
        assert self._folder is not None
        jobs = sorted({handle.submission.job for handle in handles if handle.submission and handle.submission.job})
        run = shlex.quote(str(self._folder.path))
        if not jobs:
            return f"No job was submitted. `modbench resume {run}` continues."
        said = f"{len(jobs)} jobs go on" if len(jobs) > 1 else "1 job goes on"
        return f"{said}; `modbench resume {run}` waits for them again, `scancel {' '.join(jobs)}` cancels them."

    def _at_large(self) -> dict[str, tuple[Submission, int]]:
        """Units of earlier submitters whose jobs are queued or running; their other tasks are given up for good."""
        assert self._folder is not None
        path, found = self._folder.path, dict[str, tuple[Submission, int]]()
        earlier = attempts.submissions(path)
        states = queue.states(each.name for each in earlier) if earlier else {}
        for each in earlier:
            for task, units in enumerate(each.tasks):
                job, state = states.get((each.name, task), ("", "CANCELLED"))
                if state in queue.ENDED:
                    attempts.void(path, each.token, task)
                    continue
                submission = each
                if each.job is None:  # its submitter was killed between sbatch and the file
                    submission = each.model_copy(update={"job": job})
                    attempts.submit(path, submission)
                if attempts.is_void(path, each.token, task) or not attempts.has_work(path, submission, task):
                    attempts.void(path, each.token, task)
                    queue.cancel(submission.id_of(task))
                    continue
                found |= dict.fromkeys(units, (submission, task))
        return found

    def _submit(self, handles: Sequence[SlurmHandle]) -> None:
        """Submit what waits, as far as the queue may hold it."""
        if not self._waiting:
            return
        assert self._folder is not None
        made = groups([handle.unit for handle in self._waiting], self.threads, self.options)
        by_name = {handle.unit.name: handle for handle in self._waiting}
        room = sys.maxsize
        if self.options.max_submit is not None:
            busy = {handle.job for handle in handles if handle.submission is not None}
            room = self.options.max_submit - len(busy)
        for group, tasks in made:
            for some in _split(tasks, min(self._largest, queue.most_tasks(group.nodes))):
                part = some[: max(0, room)]
                if not part:
                    return
                room -= len(part)
                self._send(group, [[by_name[unit.name] for unit in units] for units in part])
        self._queue.soon()

    def _send(self, group: Group, tasks: Sequence[Sequence[SlurmHandle]]) -> None:
        assert self._folder is not None
        units = [[(handle.unit, handle.limit_s) for handle in handles] for handles in tasks]
        again = max(handle.tries for handles in tasks for handle in handles)
        submission = send(self._folder, group, units, self.options, again=again, make=type(self).inside)
        for task, handles in enumerate(tasks):
            for handle in handles:
                self._waiting.remove(handle)
                handle.submission, handle.task, handle.gone, handle.begun = submission, task, None, False

    def _ask(self, handles: Sequence[SlurmHandle]) -> list[SlurmHandle]:
        """Ask Slurm about units without a record; return those that ended all the same."""
        assert self._folder is not None
        if time.monotonic() >= self._queue.next_s:
            self._refresh({handle.submission.name for handle in handles if handle.submission is not None})
        if self._queue.silent:  # nothing is known: jobs may well go on
            return []
        ended = []
        for handle in handles:
            assert handle.submission is not None
            state = self._queue.states.get((handle.submission.name, handle.task), ("", ""))[1]
            live = bool(state) and state not in queue.ENDED
            handle.begun = handle.begun or state == "RUNNING"
            last = None if live else self._last_attempt(handle)
            if last is not None and last.how == "failed":
                handle.exitcode, handle.hung = last.exitcode, last.hung
                ended.append(handle)
            elif live:
                handle.gone = None
            elif handle.gone is None:
                handle.gone = time.monotonic()
            elif time.monotonic() - handle.gone >= GRACE_S and (
                handle.record.exists() or self._lost(handle, state, last)
            ):
                ended.append(handle)
        return ended

    def _refresh(self, names: set[str]) -> None:
        queued = self._queue
        try:
            queued.states = queue.states(names) if names else {}
            queued.silent = False
        except queue.QueueError as error:
            if not queued.silent:
                sys.stderr.write(f"squeue does not answer ({error}); modbench goes on asking, and jobs go on\n")
            queued.silent = True
        queued.next_s = time.monotonic() + queued.pause_s
        queued.pause_s = min(LATEST_S, 1.5 * queued.pause_s)

    def _complete(self, handle: SlurmHandle) -> bool:
        """Whether a record will not change any more: its job writes the end of the attempt after the second clock's note."""
        last = None if handle.submission is None else self._last_attempt(handle)
        return handle.submission is None or (last is not None and last.how not in {None, "failed"})

    def _last_attempt(self, handle: SlurmHandle) -> Attempt | None:
        assert self._folder is not None
        assert handle.submission is not None
        made = attempts.attempts_of(self._folder.path, handle.submission, handle.task)
        return next((attempt for attempt in reversed(made) if attempt.unit == handle.unit.name), None)

    def _lost(self, handle: SlurmHandle, state: str, last: Attempt | None) -> bool:
        """Submit a unit again whose job ended without a record, or give it up; returns whether it was given up."""
        assert self._folder is not None
        assert handle.submission is not None
        job, path = handle.job, self._folder.path
        attempts.note(path, handle.submission.token, handle.task, {"state": state or "GONE", "job": job}, seen=True)
        attempts.void(path, handle.submission.token, handle.task)
        how = attempts.OF_STATE.get(state) or (last.how if last is not None and last.how else "lost")
        log = attempts.log_of(path, handle.submission, handle.task)
        if state == "CANCELLED":
            handle.died = Death(kind="crash", reason=f"the Slurm job {job} was cancelled{log}")
            return True
        handle.tries += attempts.starts(path, handle.submission, handle.task)
        if handle.tries > self.options.requeues:
            kind: Failure = "timeout" if how == "time limit" else "crash"
            said = f"after {handle.tries} start{'s' * (handle.tries > 1)}"
            handle.died = Death(kind=kind, reason=f"the Slurm job {job} ended without a record ({how}), {said}{log}")
            return True
        handle.submission, handle.gone = None, None
        self._waiting.append(handle)
        return False


def _split(tasks: Sequence[Sequence[UnitOfWork]], most: int) -> Iterator[Sequence[Sequence[UnitOfWork]]]:
    """Split the tasks of a group into arrays of at most `most` tasks."""
    for start in range(0, len(tasks), most):
        yield tasks[start : start + most]


LAUNCHER = SlurmLauncher
