"""Submits units to a Slurm cluster: one array of jobs for each group of units that need the same resources.

What was started since the last `wait` is submitted there. Whether a unit has ended is read from the run folder first; squeue is
asked second. submitit would ask sacct: few small clusters have accounting. `jobs/` in the run folder says which job has which
units, so a run that is resumed waits for jobs that are still queued or running instead of starting their units again.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from modbench.harness.core.errors import UsageError
from modbench.harness.domain.case import Device, UnitOfWork
from modbench.harness.domain.records import Death
from modbench.harness.execution.launch.local import LocalLauncher
from modbench.harness.execution.launching import MakeLauncher
from modbench.harness.execution.slurm.job import ended_units
from modbench.harness.execution.slurm.options import parse
from modbench.harness.execution.slurm.submitting import (
    PREFIX,
    QueueError,
    Submission,
    groups,
    in_a_line,
    load_submitit,
    send,
    submissions,
)
from modbench.harness.process import processes
from modbench.harness.results.run_folder import RunFolder

# Seconds between two looks at the run folder, and between two questions to Slurm, whose controller serves the whole site.
LOOK_S, ASK_S = 0.5, 30.0
# A job that has ended counts as gone after this time: a record may take as long to be seen on a shared folder.
GRACE_S = 30.0
# How long squeue may take to answer.
WAIT_S = 60.0
# States of a job that will not run again by itself; any other is waiting, running or about to.
GONE = "GONE"  # Slurm knows no such job, or forgot it
ENDED = {GONE, "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "LAUNCH_FAILED", "NODE_FAIL"} | {
    "OUT_OF_MEMORY", "PREEMPTED", "RECONFIG_FAIL", "REVOKED", "TIMEOUT"
}  # fmt: skip
# id of the array job, task (N/A for a job without an array), state, name
FORMAT = "%F|%K|%T|%j"


@dataclass
class SlurmHandle:
    """A unit that waits for a job or runs in one.

    Attributes:
        unit: the unit.
        record: path of its record.
        limit_s: seconds after which its job ends it, once it runs.
        submission: the submission that has it; None until it is submitted.
        task: its task there.
        tries: how often it was submitted again.
        gone: when its job was first seen to have ended without a record, on the monotonic clock.
        died: how it ended, if without a record.
        running: False: jobs end their units, and only units that have ended are handed back.
        exitcode: None: the job has it.
    """

    unit: UnitOfWork
    record: Path
    limit_s: float
    submission: Submission | None = None
    task: int = 0
    tries: int = 0
    gone: float | None = None
    died: Death | None = None
    running: bool = False
    exitcode: int | None = None


class SlurmLauncher:
    """Submits units as jobs.

    Args:
        cold: of no matter: a job starts a fresh interpreter for every unit.
        threads: CPU threads of a unit: the default of `--cpus-per-task`.
        device: where the units run.
        options: sbatch's options, and a few of modbench's.

    Raises:
        UsageError: without Slurm or submitit, or for what is no option.
    """

    is_remote = True
    inside: MakeLauncher = LocalLauncher  # it starts units inside a job

    def __init__(self, *, cold: bool, threads: int, device: Device = "cpu", options: Sequence[str] = ()) -> None:
        del cold
        if missing := [name for name in ("sbatch", "squeue", "srun") if shutil.which(name) is None]:
            raise UsageError(
                f"--launcher slurm needs Slurm's commands; {', '.join(missing)} cannot be found here. Start modbench on a login "
                "node of the cluster (Debian: apt-get install slurm-client), or use --launcher local."
            )
        load_submitit()
        self.options, self.threads, self.device = parse(options), threads, device
        self._folder: RunFolder | None = None
        self._known: dict[str, tuple[Submission, int]] = {}
        self._waiting: list[SlurmHandle] = []
        self._states: dict[tuple[str, int], tuple[str, str]] = {}
        self._next_s, self._silent = 0.0, False

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
        if self._folder is None or self._folder.path != folder.path.resolve():
            self._folder = RunFolder(folder.path.resolve())
            self._known = self._at_large(self._folder.path)
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
            if time.monotonic() >= self._next_s:
                self._ask()
            present = {path for place in {each.record.parent for each in handles} for path in place.glob("*.json")}
            ended = [handle for handle in handles if self._has_ended(handle, there=handle.record in present)]
            if ended or time.monotonic() >= until:
                return ended
            time.sleep(max(0.0, min(LOOK_S, until - time.monotonic())))

    def ask(self, handle: SlurmHandle) -> None:
        """Nobody asks: who leaves, leaves the jobs."""

    def end(self, handle: SlurmHandle) -> None:
        """Nothing is left to do: jobs end their units."""

    def leave(self, handles: list[SlurmHandle]) -> str:
        """What to tell a user who leaves while jobs are queued or running."""
        assert self._folder is not None
        jobs = sorted({handle.submission.job for handle in handles if handle.submission})
        run = shlex.quote(str(self._folder.path))
        if not jobs:
            return f"No job was submitted. `modbench resume {run}` continues."
        said = f"{len(jobs)} jobs go on" if len(jobs) > 1 else "1 job goes on"
        return f"{said}; `modbench resume {run}` waits for them again, `scancel {' '.join(jobs)}` cancels them."

    def _at_large(self, folder: Path) -> dict[str, tuple[Submission, int]]:
        """Units of earlier submitters whose jobs are queued or running."""
        found = dict[str, tuple[Submission, int]]()
        earlier = submissions(folder)
        self._states = states() if earlier else {}
        for each in earlier:
            for task, units in enumerate(each.tasks):
                job, state = self._states.get((each.name, task), ("", GONE))
                if state not in ENDED:
                    found |= dict.fromkeys(units, (replace(each, job=job), task))
        return found

    def _submit(self, handles: Sequence[SlurmHandle]) -> None:
        """Submit what waits, as far as the queue may hold it."""
        if not self._waiting:
            return
        assert self._folder is not None
        by_name = {handle.unit.name: handle for handle in self._waiting}
        room = self.options.max_submit - len({(each.submission, each.task) for each in handles if each.submission})
        for group, all_tasks in groups([handle.unit for handle in self._waiting], self.threads, self.options):
            tasks = [[by_name[unit.name] for unit in units] for units in all_tasks[: max(0, room)]]
            room -= len(tasks)
            if not tasks:
                continue
            units = [[(handle.unit, handle.limit_s) for handle in task] for task in tasks]
            again = max(handle.tries for task in tasks for handle in task)
            requeues = self.options.requeues - again
            sent = send(self._folder, group, units, self.options, requeues=requeues, make=type(self).inside)
            for index, task in enumerate(tasks):
                self._states[sent.name, index] = (sent.job, "PENDING")
                for handle in task:
                    self._waiting.remove(handle)
                    handle.submission, handle.task, handle.gone = sent, index, None

    def _ask(self) -> None:
        """Ask Slurm for the states of jobs; without an answer they stay as they were."""
        try:
            self._states, self._silent = states(), False
        except QueueError as error:
            if not self._silent:
                sys.stderr.write(f"squeue does not answer ({error}); modbench goes on asking, and jobs go on\n")
            self._silent = True
        self._next_s = time.monotonic() + ASK_S

    def _has_ended(self, handle: SlurmHandle, *, there: bool) -> bool:
        """Whether a unit has its record, or will get none; a unit whose job is lost is submitted again.

        Args:
            handle: the unit.
            there: whether its record is there. Its job may still note something there.
        """
        if handle.submission is None:
            return there
        state = self._states.get((handle.submission.name, handle.task), ("", GONE))[1]
        if state in ENDED and not there:
            handle.gone = handle.gone or time.monotonic()
            return time.monotonic() - handle.gone >= GRACE_S and self._is_lost(handle, handle.submission, state)
        handle.gone = None
        return there and (state in ENDED or handle.unit.name in ended_units(handle.submission.place, handle.task))

    def _is_lost(self, handle: SlurmHandle, submission: Submission, state: str) -> bool:
        """Submit a unit again whose job ended without a record, or give it up; returns whether it was given up."""
        job, log = submission.id_of(handle.task), submission.log_of(handle.task)
        if state == "CANCELLED":
            handle.died = Death(kind="crash", reason=f"the Slurm job {job} was cancelled{log}")
        elif handle.tries >= self.options.requeues:
            how = "Slurm no longer knows it" if state == GONE else state.lower().replace("_", " ")
            said = f"the Slurm job {job} ended without a record ({how}), submitted {handle.tries + 1} times{log}"
            handle.died = Death(kind="timeout" if state == "TIMEOUT" else "crash", reason=said)
        else:
            handle.submission, handle.tries = None, handle.tries + 1
            self._waiting.append(handle)
        return handle.died is not None


def states() -> dict[tuple[str, int], tuple[str, str]]:
    """State of every task of this user's jobs that modbench submitted, as long as Slurm remembers it.

    Returns:
        (job name, task) to (id of the array job, state).

    Raises:
        QueueError: if squeue fails, which says nothing about the jobs.
    """
    words = ["squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", f"--format={FORMAT}"]
    try:
        done = processes.answer(words, WAIT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise QueueError(str(error)) from error
    if done.returncode:
        raise QueueError(in_a_line(done.stderr.decode(errors="replace")))
    found = {}
    for line in done.stdout.decode(errors="replace").splitlines():
        job, task, state, name = [*line.split("|", 3), "", "", ""][:4]
        if name.startswith(PREFIX):
            found[name, int(task) if task.isdecimal() else 0] = (job, state)
    return found


LAUNCHER = SlurmLauncher
