"""From jobs to arrays of Slurm jobs, through submitit."""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
import secrets
import shlex
import signal
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modbench.extend import (
    Job,
    MakeLauncher,
    ModbenchError,
    RunFolder,
    UnreadableError,
    UsageError,
    masked,
    masked_command,
    optional_packages,
    write_atomically,
)
from modbench.plugins.slurm.job import Task, blocked
from modbench.plugins.slurm.options import Options

# The folder of submissions in a run folder, and the file of each that names its units.
SLURM_JOBS, JOBS = "slurm_jobs", "jobs.json"
PREFIX = "modbench-"
# Minutes of a Slurm job besides the limits of its jobs, and the longest that is asked for without --time.
SPARE_MIN, LONGEST_MIN = 5, 24 * 60
# With one of these, the user has said who else may be on the node, or how many cores a process needs.
SHARING = {"exclusive", "oversubscribe"}
CORES = {"cpus-per-task", "cpus-per-gpu", "cores-per-socket"}
# Options that say how many GPUs a process needs; the first counts those of the whole Slurm job, the others those of a node.
GPUS = ("gpus", "gpus-per-node", "gpus-per-task", "gres")
# What sbatch says where the cluster is at fault and no option.
CLUSTER = re.compile(r"credential|authentica|unable to contact|timed out", re.IGNORECASE)


class QueueError(ModbenchError):
    """Slurm's controller does not answer; its Slurm jobs may well go on."""


@dataclass(frozen=True)
class Submission:
    """An array of Slurm jobs, or one. What they run is written down before sbatch is called; they are found by their name.

    Attributes:
        place: its folder in the run folder, whose name is random.
        tasks: names of the jobs of each task.
        slurm_job: Slurm's id of the array.
    """

    place: Path
    tasks: tuple[tuple[str, ...], ...]
    slurm_job: str = ""

    @property
    def name(self) -> str:
        """Name of its jobs."""
        return PREFIX + self.place.name

    def id_of(self, task: int) -> str:
        """Slurm's id of one of its tasks."""
        return self.slurm_job if len(self.tasks) == 1 else f"{self.slurm_job}_{task}"

    def log_of(self, task: int) -> str:
        """`; see slurm_jobs/…` with what a task's Slurm job printed; empty if there is no such file."""
        file = self.place / f"{self.id_of(task)}_0_log.out"
        return f"; see {SLURM_JOBS}/{self.place.name}/{file.name}" if file.exists() else ""


def submissions(folder: Path) -> list[Submission]:
    """All submissions of a run.

    Raises:
        UnreadableError: if a file is damaged.
    """
    found = []
    for file in sorted((folder / SLURM_JOBS).glob(f"*/{JOBS}")):
        try:
            tasks = tuple(tuple(map(str, names)) for names in json.loads(file.read_bytes()))
        except (ValueError, TypeError) as error:
            raise UnreadableError(f"{file}: damaged: {error}.") from error
        found.append(Submission(file.parent, tasks))
    return found


@dataclass(frozen=True)
class Group:
    """Jobs whose Slurm jobs need the same resources.

    Attributes:
        timed: whether they are timed, and so have a node of their own.
        threads: CPU threads of a process.
        ranks: processes that share a job.
        nodes: the nodes among which they are divided.
    """

    timed: bool
    threads: int
    ranks: int = 1
    nodes: int = 1

    def sbatch(self, options: Options, minutes: int) -> dict[str, str | bool]:
        """Options of sbatch for this group: the user's, and defaults where these say nothing."""
        given = {name: value for name, value in options.sbatch.items() if name != "nodes"}
        here = self.ranks // self.nodes
        if self.timed and options.exclusive and not SHARING & given.keys():
            given["exclusive"] = True
        if not CORES & given.keys():
            given["cpus-per-task"] = str(self.threads)
        for name in ("cpus-per-task", *GPUS):
            if name in given:
                given[name] = times(str(given[name]), self.ranks if name == GPUS[0] else here, only_gpus=name == "gres")
        if not {"requeue", "no-requeue"} & given.keys():
            given["requeue"] = True
        given.setdefault("time", str(minutes))
        given["ntasks"] = str(self.nodes)
        if self.nodes > 1:
            given |= {"nodes": str(self.nodes), "ntasks-per-node": "1"}
        return given

    def srun(self, sbatch: dict[str, str | bool]) -> list[str]:
        """Options of the srun that starts the task, given those of sbatch: once, or once on each of its nodes."""
        # On an exclusive node srun would start the task once for every core that sbatch was given.
        words = [f"--ntasks={self.nodes}"]
        if self.nodes > 1:  # the first node may go on when others are done, but not when the ranks of one died
            words += ["--ntasks-per-node=1", "--kill-on-bad-exit=1", "--wait=0"]
        if "cpus-per-task" in sbatch:  # which srun does not take over from sbatch
            words.append(f"--cpus-per-task={sbatch['cpus-per-task']}")
        return words


def times(asked: str, ranks: int, *, only_gpus: bool) -> str:
    """What some ranks need if one needs that: for four, `gpu:a100:1,tmpfs:9` becomes `gpu:a100:4,tmpfs:9`."""
    parts = []
    for part in asked.split(","):
        kind, number = re.fullmatch(r"(.*?)(\d*)", part).groups() if part else ("", "")  # type: ignore[union-attr]
        if number and (kind.endswith(":") or not kind) and (not only_gpus or kind.startswith("gpu:")):
            parts.append(f"{kind}{int(number) * ranks}")
        elif only_gpus and re.match(r"gpu(:|$)", part):  # Slurm takes it for one
            parts.append(f"{part}:{ranks}")
        else:
            parts.append(part)
    return ",".join(parts)


def groups(jobs: Sequence[Job], threads: int, options: Options) -> list[tuple[Group, list[list[Job]]]]:
    """Group jobs by what their Slurm jobs need, and put them into tasks.

    Timed jobs of one comparison are one task, in order: they run on one node, one after the other. Any other job is a task.

    Raises:
        UsageError: if the ranks of a job cannot be divided among the nodes of `--nodes` evenly.
    """
    timed: dict[str, list[Job]] = {}
    others: dict[int, list[list[Job]]] = {}
    for job in jobs:
        if job.facts.timed:
            timed.setdefault(job.comparison.label, []).append(job)
        else:
            others.setdefault(job.ranks, []).append([job])
    made = [
        (Group(timed=False, threads=threads, ranks=ranks, nodes=options.nodes_for(ranks)), tasks)
        for ranks, tasks in sorted(others.items())
    ]
    return made + [(Group(timed=True, threads=threads), list(timed.values()))] * bool(timed)


def send(
    folder: RunFolder,
    group: Group,
    tasks: Sequence[Sequence[tuple[Job, float]]],
    options: Options,
    *,
    requeues: int,
    make: MakeLauncher,
) -> Submission:
    """Submit an array of tasks.

    Args:
        folder: the run folder.
        group: what the Slurm jobs need.
        tasks: the jobs of each task, and their limits in s.
        options: the user's.
        requeues: how often a Slurm job may put itself back into the queue at its time limit.
        make: makes the launcher that starts jobs inside a job.

    Raises:
        UsageError: with sbatch's words, if it refuses an option.
        QueueError: if Slurm does not answer.
    """
    submitit = load_submitit()
    place = folder.path / SLURM_JOBS / secrets.token_hex(6)
    place.mkdir(mode=0o700, parents=True)  # the script holds the user's options, which may be secrets
    submission = Submission(place, tuple(tuple(job.name for job, _ in jobs) for jobs in tasks))
    write_atomically(place / JOBS, json.dumps(submission.tasks))
    minutes = min(LONGEST_MIN, SPARE_MIN + math.ceil(max(sum(s for _, s in jobs) for jobs in tasks) / 60))
    sbatch = group.sbatch(options, minutes)
    executor = submitit.SlurmExecutor(place, max_num_timeout=requeues)
    executor.update_parameters(
        job_name=submission.name,
        comment=f"modbench {folder.path}",
        array_parallelism=len(tasks),
        additional_parameters=sbatch,
        # submitit starts Python with -m, which puts the current folder first on its path.
        setup=["export PYTHONSAFEPATH=1", *options.setup],
        stderr_to_stdout=True,
        srun_args=group.srun(sbatch),
    )
    todo = [Task(folder, place, index, tuple(jobs), make) for index, jobs in enumerate(tasks)]
    try:
        # Ctrl-C waits for sbatch. submitit warns of how its logs will look, and prints what the error says with secrets masked.
        with blocked(signal.SIGINT), warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            slurm_jobs = executor.submit_array(todo)
    except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
        raise refusal(options, str(error), folder.path) from error
    return Submission(place, submission.tasks, slurm_jobs[0].job_id.partition("_")[0])


def refusal(options: Options, said: str, folder: Path) -> ModbenchError:
    """The error for an sbatch that failed: the user's, unless it says that Slurm does not answer."""
    words = [f"--{name}" if value is True else f"--{name}={value}" for name, value in options.sbatch.items()]
    asked = " ".join(masked_command(words)) or "the Slurm job"
    resume = f"modbench resume {shlex.quote(str(folder))}"
    if CLUSTER.search(said):
        return QueueError(f"sbatch failed: {in_a_line(said)}; the run folder is kept, and `{resume}` goes on.")
    return UsageError(
        f"sbatch refuses {asked}: {in_a_line(said)}. The run folder is kept: `{resume} -- OPTIONS` goes on with other options."
    )


def in_a_line(said: str) -> str:
    """The output of a command of Slurm, on one line, with secrets masked."""
    lines = [masked(line.strip()) for line in said.splitlines() if not line.startswith('Try "')]
    return "; ".join(dict.fromkeys(filter(None, lines)))[:400] or "it does not say why"


def load_submitit() -> Any:  # noqa: ANN401  # an optional package
    """Import submitit.

    Raises:
        UsageError: if it is not installed.
    """
    return optional_packages.load("submitit", "slurm", "--launcher slurm")
