"""From units to arrays of jobs, through submitit."""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import secrets
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from modbench.harness.core import extras, printable
from modbench.harness.core.files import now
from modbench.harness.domain.case import UnitOfWork
from modbench.harness.execution.launching import MakeLauncher
from modbench.harness.execution.slurm.job import Task, run_task
from modbench.harness.execution.slurm.options import Options
from modbench.harness.execution.slurm.queue import refusal
from modbench.harness.results import attempts
from modbench.harness.results.attempts import Submission
from modbench.harness.results.run_folder import RunFolder

# Minutes of a job besides the limits of its units, and the longest that is asked for without --time.
SPARE_MIN, LONGEST_MIN = 5, 24 * 60
# With one of these, the user has said who else may be on the node.
SHARING = {"exclusive", "oversubscribe"}
# Options that say how many GPUs a process needs; all but one count those of a node.
OF_THE_JOB = "gpus"
OF_ONE_PROCESS = {OF_THE_JOB, "gpus-per-node", "gpus-per-task", "gres"}
# Seconds that the tasks of other nodes have to end when that of the first has ended.
REST_S = 60
# With one of these, Slurm does not want --cpus-per-task as well.
CORES = {"cpus-per-task", "cpus-per-gpu", "cores-per-socket"}

# Starts sbatch where Ctrl-C and the end of the terminal do not reach it: it may already have submitted the jobs.
IN_A_SESSION = (
    "import os, sys; os.setsid(); os.umask(int(sys.argv[1])); os.execvp(sys.argv[2], sys.argv[2:])"  # the user's umask
)


@dataclass(frozen=True)
class Group:
    """Units whose jobs need the same resources.

    Attributes:
        timed: whether they are timed, and so have a node of their own.
        threads: CPU threads of a process.
        ranks: processes that share a unit.
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
            given["cpus-per-task"] = str(self.threads * here)
        elif str(given.get("cpus-per-task", "")).isdecimal():
            given["cpus-per-task"] = str(int(str(given["cpus-per-task"])) * here)
        for name in OF_ONE_PROCESS & given.keys():
            number = self.ranks if name == OF_THE_JOB else here
            given[name] = _for_all(str(given[name]), number, every=name != "gres")
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
        if self.nodes > 1:  # the first node's task decides when all have ended
            words += ["--ntasks-per-node=1", "--kill-on-bad-exit=1", f"--wait={REST_S}"]
        if "cpus-per-task" in sbatch:  # which srun does not take over from sbatch
            words.append(f"--cpus-per-task={sbatch['cpus-per-task']}")
        return words


def _for_all(asked: str, ranks: int, *, every: bool) -> str:
    """GPUs for ranks that have as many each: for four, `gpu:a100:1` becomes `gpu:a100:4`; other resources stay."""
    parts = []
    for part in asked.split(","):
        if ranks > 1 and not every and re.fullmatch(r"gpu(:[A-Za-z_][^:]*)?", part):
            part += ":1"  # as Slurm understands it  # noqa: PLW2901
        kind, colon, number = part.rpartition(":")
        counted = number.isdecimal() and (every or kind.partition(":")[0] == "gpu")
        parts.append(f"{kind}{colon}{int(number) * ranks}" if counted else part)
    return ",".join(parts)


def groups(units: Sequence[UnitOfWork], threads: int, options: Options) -> list[tuple[Group, list[list[UnitOfWork]]]]:
    """Group units by what their jobs need, and put them into tasks.

    Timed units of one comparison are one task, in order: they run on one node, one after the other. Any other unit is a task.

    Raises:
        UsageError: if the ranks of a unit cannot be divided among the nodes of `--nodes` evenly.
    """
    timed: dict[str, list[UnitOfWork]] = {}
    for unit in units:
        if unit.facts.timed:
            timed.setdefault(unit.comparison.label, []).append(unit)
    others: dict[int, list[list[UnitOfWork]]] = {}
    for unit in units:
        if not unit.facts.timed:
            others.setdefault(unit.ranks, []).append([unit])
    made = [
        (Group(timed=False, threads=threads, ranks=ranks, nodes=options.nodes_for(ranks)), tasks)
        for ranks, tasks in sorted(others.items())
    ]
    return made + [(Group(timed=True, threads=threads), list(timed.values()))] * bool(timed)


def send(
    folder: RunFolder,
    group: Group,
    tasks: Sequence[Sequence[tuple[UnitOfWork, float]]],
    options: Options,
    *,
    again: int = 0,
    make: MakeLauncher,
) -> Submission:
    """Submit an array of tasks.

    Args:
        folder: the run folder.
        group: what the jobs need.
        tasks: the units of each task, and their limits in s.
        options: the user's.
        again: how often units of it were started by earlier jobs.
        make: makes the launcher that starts units inside a job.

    Raises:
        UsageError: with sbatch's words, if it refuses an option.
        QueueError: if it fails for another reason.
    """
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    token = secrets.token_hex(6)
    minutes = min(LONGEST_MIN, SPARE_MIN + math.ceil(max(sum(s for _, s in units) for units in tasks) / 60))
    sbatch = group.sbatch(options, minutes)
    names = tuple(tuple(unit.name for unit, _ in units) for units in tasks)
    words = tuple(f"--{name}" if value is True else f"--{name}={value}" for name, value in sbatch.items())
    submission = Submission(
        token=token, submitted=now(), tasks=names, options=tuple(printable.masked_command(list(words)))
    )
    attempts.submit(folder.path, submission)  # before the jobs: whoever resumes finds them by their name
    executor = submitit.SlurmExecutor(attempts.place(folder.path, token))
    parameters: dict[str, Any] = {
        "job_name": submission.name,
        "comment": f"modbench {folder.path}",
        "signal_delay_s": options.signal_s,
        "array_parallelism": options.array_parallelism or len(tasks),
        "additional_parameters": {name.replace("-", "_"): value for name, value in sbatch.items()},
        # submitit starts Python with -m, which puts the current folder first on its path.
        "setup": ["export PYTHONSAFEPATH=1", *options.setup],
        "stderr_to_stdout": True,
    }
    executor.update_parameters(**parameters, srun_args=group.srun(sbatch))
    todo = [
        Task(
            str(folder.path),
            token,
            index,
            tuple((unit.model_dump_json(), limit_s) for unit, limit_s in units),
            max(0, options.requeues - again),
            options.signal_s,
            make,
        )
        for index, units in enumerate(tasks)
    ]
    try:
        said = io.StringIO()  # by submitit: what the error says too, with secrets masked
        with warnings.catch_warnings(), _apart(submitit.SlurmExecutor), contextlib.redirect_stderr(said):
            warnings.simplefilter("ignore")  # submitit's, on how its logs will look
            jobs = executor.map_array(run_task, todo)
    except (FailedJobError, FailedSubmissionError) as error:
        attempts.withdraw(folder.path, submission)
        resume = f"modbench resume {shlex.quote(str(folder.path))}"
        again_by = f"records and other jobs are kept; units without a record are submitted again by `{resume}`"
        instead = f"The run folder and other jobs are kept: `{resume} -- OPTIONS` goes on with other options."
        raise refusal(words, str(error), again_by, instead) from error
    done = submission.model_copy(update={"job": jobs[0].job_id.partition("_")[0]})
    attempts.submit(folder.path, done)
    return done


@contextlib.contextmanager
def _apart(executor: Any) -> Iterator[None]:  # noqa: ANN401  # a class of an optional package
    """Let submitit start sbatch in a session of its own, with a script that only its owner may read: options may hold secrets.

    For an array submitit makes an executor of its own, so that its class is changed for the time of the `with` block.
    """
    usual, mask = executor._make_submission_command, os.umask(0o077)  # noqa: SLF001

    def command(self: object, script: object) -> list[str]:
        return [sys.executable, "-I", "-S", "-c", IN_A_SESSION, str(mask), *usual(self, script)]

    executor._make_submission_command = command  # noqa: SLF001
    try:
        yield
    finally:
        executor._make_submission_command = usual  # noqa: SLF001
        os.umask(mask)


def refuse_without_submitit() -> None:
    """Refuse to go on without submitit.

    Raises:
        UsageError: if it is not installed.
    """
    extras.load("submitit", "slurm", "--launcher slurm")
