"""Submits jobs to a Slurm cluster: one array of Slurm jobs for each group of jobs that need the same resources.

What was started since the last `wait` is submitted there. Whether a job has ended is read from the run folder first; squeue is
asked second. submitit would ask sacct: few small clusters have accounting. `slurm_jobs/` in the run folder says which Slurm
job has which jobs, so a run that is resumed waits for Slurm jobs that are still queued or running instead of starting their
jobs again.
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

from modbench.extend import Death, Device, Job, LocalLauncher, MakeLauncher, RunFolder, UsageError, processes
from modbench.plugins.slurm.job import ended_jobs
from modbench.plugins.slurm.options import parse
from modbench.plugins.slurm.submitting import (
    PREFIX,
    QueueError,
    Submission,
    groups,
    in_a_line,
    load_submitit,
    send,
    submissions,
)

# Seconds between two looks at the run folder, and between two questions to Slurm, whose controller serves the whole site.
LOOK_S, ASK_S = 0.5, 30.0
# A Slurm job that has ended counts as gone after this time: a record may take as long to be seen on a shared folder.
GRACE_S = 30.0
# How long squeue may take to answer.
WAIT_S = 60.0
# States of a Slurm job that will not run again by itself; any other is waiting, running or about to.
GONE = "GONE"  # Slurm knows no such Slurm job, or forgot it
ENDED = {GONE, "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "LAUNCH_FAILED", "NODE_FAIL"} | {
    "OUT_OF_MEMORY", "PREEMPTED", "RECONFIG_FAIL", "REVOKED", "TIMEOUT"
}  # fmt: skip
# id of the array Slurm job, task (N/A for a Slurm job without an array), state, name
FORMAT = "%F|%K|%T|%j"


@dataclass
class SlurmHandle:
    """A job that waits for a Slurm job or runs in one.

    Attributes:
        job: the job.
        record: path of its record.
        limit_s: seconds after which its Slurm job ends it, once it runs.
        submission: the submission that has it; None until it is submitted.
        task: its task there.
        tries: how often it was submitted again.
        gone: when its Slurm job was first seen to have ended without a record, on the monotonic clock.
        died: how it ended, if without a record.
        running: False: Slurm jobs end their jobs, and only jobs that have ended are handed back.
        exitcode: None: the Slurm job has it.
    """

    job: Job
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
        cold: of no matter: a Slurm job starts a fresh interpreter for every job.
        threads: CPU threads of a job: the default of `--cpus-per-task`.
        device: where the jobs run.
        options: sbatch's options, and a few of modbench's.

    Raises:
        UsageError: without Slurm or submitit, or for what is no option.
    """

    is_remote = True
    inside: MakeLauncher = LocalLauncher  # it starts jobs inside a Slurm job

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

    def refuse(self, jobs: Sequence[Job]) -> None:
        """Refuse jobs whose ranks cannot be divided among the nodes that were asked for.

        Raises:
            UsageError: if there is one.
        """
        groups(jobs, self.threads, self.options)

    def at_once(self, usual: int) -> int:
        """How many jobs may run at once: all, as Slurm decides."""
        del usual
        return sys.maxsize

    def start(self, job: Job, folder: RunFolder, timeout_s: float) -> SlurmHandle:
        """Take a job: it is submitted at the next `wait`, unless a Slurm job of an earlier submitter has it."""
        if self._folder is None or self._folder.path != folder.path.resolve():
            self._folder = RunFolder(folder.path.resolve())
            self._known = self._at_large(self._folder.path)
        handle = SlurmHandle(job, folder.record(job), timeout_s)
        if job.name in self._known:
            handle.submission, handle.task = self._known.pop(job.name)
        elif not handle.record.exists():  # a Slurm job may have written it since the folder was read
            self._waiting.append(handle)
        return handle

    def wait(self, handles: list[SlurmHandle], timeout_s: float) -> list[SlurmHandle]:
        """Submit what was started, then block until a job has ended or the time is up; return the jobs that ended."""
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
        """Nothing is left to do: Slurm jobs end their jobs."""

    def leave(self, handles: list[SlurmHandle]) -> str:
        """What to tell a user who leaves while Slurm jobs are queued or running."""
        assert self._folder is not None
        slurm_jobs = sorted({handle.submission.slurm_job for handle in handles if handle.submission})
        run = shlex.quote(str(self._folder.path))
        if not slurm_jobs:
            return f"No Slurm job was submitted. `modbench resume {run}` continues."
        said = f"{len(slurm_jobs)} Slurm jobs go on" if len(slurm_jobs) > 1 else "1 Slurm job goes on"
        return f"{said}; `modbench resume {run}` waits for them again, `scancel {' '.join(slurm_jobs)}` cancels them."

    def _at_large(self, folder: Path) -> dict[str, tuple[Submission, int]]:
        """Jobs of earlier submitters whose Slurm jobs are queued or running."""
        found = dict[str, tuple[Submission, int]]()
        earlier = submissions(folder)
        self._states = states() if earlier else {}
        for each in earlier:
            for task, jobs in enumerate(each.tasks):
                slurm_job, state = self._states.get((each.name, task), ("", GONE))
                if state not in ENDED:
                    found |= dict.fromkeys(jobs, (replace(each, slurm_job=slurm_job), task))
        return found

    def _submit(self, handles: Sequence[SlurmHandle]) -> None:
        """Submit what waits, as far as the queue takes it."""
        if not self._waiting:
            return
        assert self._folder is not None
        by_name = {handle.job.name: handle for handle in self._waiting}
        room = self.options.max_submit - len({(each.submission, each.task) for each in handles if each.submission})
        for group, all_tasks in groups([handle.job for handle in self._waiting], self.threads, self.options):
            tasks = [[by_name[job.name] for job in jobs] for jobs in all_tasks[: max(0, room)]]
            room -= len(tasks)
            if not tasks:
                continue
            jobs = [[(handle.job, handle.limit_s) for handle in task] for task in tasks]
            again = max(handle.tries for task in tasks for handle in task)
            requeues = self.options.requeues - again
            sent = send(self._folder, group, jobs, self.options, requeues=requeues, make=type(self).inside)
            for index, task in enumerate(tasks):
                self._states[sent.name, index] = (sent.slurm_job, "PENDING")
                for handle in task:
                    self._waiting.remove(handle)
                    handle.submission, handle.task, handle.gone = sent, index, None

    def _ask(self) -> None:
        """Ask Slurm for the states of Slurm jobs; without an answer they stay as they were."""
        try:
            self._states, self._silent = states(), False
        except QueueError as error:
            if not self._silent:
                sys.stderr.write(f"squeue does not answer ({error}); modbench goes on asking, and Slurm jobs go on\n")
            self._silent = True
        self._next_s = time.monotonic() + ASK_S

    def _has_ended(self, handle: SlurmHandle, *, there: bool) -> bool:
        """Whether a job has its record, or will get none; a job whose Slurm job is lost is submitted again.

        Args:
            handle: the job.
            there: whether its record is there. Its Slurm job may still note something there.
        """
        if handle.submission is None:
            return there
        state = self._states.get((handle.submission.name, handle.task), ("", GONE))[1]
        if state in ENDED and not there:
            handle.gone = handle.gone or time.monotonic()
            return time.monotonic() - handle.gone >= GRACE_S and self._is_lost(handle, handle.submission, state)
        handle.gone = None
        return there and (state in ENDED or handle.job.name in ended_jobs(handle.submission.place, handle.task))

    def _is_lost(self, handle: SlurmHandle, submission: Submission, state: str) -> bool:
        """Submit a job again whose Slurm job ended without a record, or give it up; returns whether it was given up."""
        slurm_job, log = submission.id_of(handle.task), submission.log_of(handle.task)
        if state == "CANCELLED":
            handle.died = Death(kind="crash", reason=f"the Slurm job {slurm_job} was cancelled{log}")
        elif handle.tries >= self.options.requeues:
            how = "Slurm no longer knows it" if state == GONE else state.lower().replace("_", " ")
            said = f"the Slurm job {slurm_job} ended without a record ({how}), submitted {handle.tries + 1} times{log}"
            handle.died = Death(kind="timeout" if state == "TIMEOUT" else "crash", reason=said)
        else:
            handle.submission, handle.tries = None, handle.tries + 1
            self._waiting.append(handle)
        return handle.died is not None


def states() -> dict[tuple[str, int], tuple[str, str]]:
    """State of every task of this user's Slurm jobs that modbench submitted, as long as Slurm remembers it.

    Returns:
        (Slurm job name, task) to (id of the array Slurm job, state).

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
        slurm_job, task, state, name = [*line.split("|", 3), "", "", ""][:4]
        if name.startswith(PREFIX):
            found[name, int(task) if task.isdecimal() else 0] = (slurm_job, state)
    return found


LAUNCHER = SlurmLauncher
