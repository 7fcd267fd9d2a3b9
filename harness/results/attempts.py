"""Jobs of a run on a cluster, and the attempts at its units: `jobs/ab/<token>.json` and files in `jobs/ab/<token>/`.

A submission's file is written before its jobs exist and names them by its token, so that a resumed run finds jobs whose
submitter was killed at any moment. Each node of each task of an array appends to a file of its own, the submitter to another:
no file has two writers. `ab` are the first two digits of the token, since a site with a small limit makes a submission of every
unit; runs of former versions have their submissions side by side in `jobs/`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from modbench.harness.core.errors import UnreadableError, UsageError
from modbench.harness.core.files import now, write_atomically
from modbench.harness.core.frozen import Frozen

JOBS = "jobs"
PREFIX = "modbench-"
# How an attempt ended. `stopped`: Slurm ended the job, and a later attempt or the submitter says why; `lost`: nothing says why.
How = Literal["done", "failed", "time limit", "preempted", "requeued", "node failed", "cancelled", "lost"]
OF_STATE: dict[str, How] = {
    "TIMEOUT": "time limit",
    "DEADLINE": "time limit",
    "PREEMPTED": "preempted",
    "NODE_FAIL": "node failed",
    "BOOT_FAIL": "node failed",
    "CANCELLED": "cancelled",
}


class Submission(Frozen):
    """An array of jobs, or one job.

    Attributes:
        token: names its jobs and files.
        job: Slurm's id of the array; None until sbatch has answered.
        submitted: when, UTC, ISO 8601.
        tasks: names of the units of each task.
        options: sbatch's options.
    """

    token: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    job: Annotated[str, Field(pattern=r"^[0-9]{1,12}$")] | None = None
    submitted: str
    tasks: tuple[tuple[str, ...], ...]
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of its jobs."""
        return PREFIX + self.token

    def id_of(self, task: int) -> str:
        """Slurm's id of one of its tasks; empty if it is not known."""
        return "" if self.job is None else self.job if len(self.tasks) == 1 else f"{self.job}_{task}"


class Attempt(Frozen):
    """One start of a unit in a job.

    Attributes:
        unit: its name.
        job: id of the job.
        restart: how often Slurm had requeued the job before.
        host: the node.
        started: when, UTC, ISO 8601.
        ended: when; None where the job could not say.
        how: how it ended; None while it runs.
        exitcode: exit code of the unit's process, negative for a signal.
        hung: whether it was ended at the unit's own limit.
    """

    unit: str
    job: str
    restart: int = 0
    host: str
    started: str
    ended: str | None = None
    how: How | None = None
    exitcode: int | None = None
    hung: bool = False


def place(folder: Path, token: str) -> Path:
    """Folder of a submission's files."""
    former = folder / JOBS / token
    return former if _file(former).exists() else folder / JOBS / token[:2] / token


def _file(place: Path) -> Path:
    return place.with_name(f"{place.name}.json")


def submit(folder: Path, submission: Submission) -> None:
    """Write a submission's file, or replace it when its job's id is known."""
    here = place(folder, submission.token)
    here.mkdir(parents=True, exist_ok=True)
    write_atomically(_file(here), submission.model_dump_json())


def withdraw(folder: Path, submission: Submission) -> None:
    """Give up all tasks of a submission for which sbatch failed. Its file stays: Slurm may have taken the jobs all the same."""
    for task in range(len(submission.tasks)):
        void(folder, submission.token, task)


def submissions(folder: Path) -> list[Submission]:
    """All submissions of a run, by time.

    Raises:
        UsageError: if a file is damaged.
    """
    found = []
    for file in [*(folder / JOBS).glob("*.json"), *(folder / JOBS).glob("??/*.json")]:
        try:
            each = Submission.model_validate_json(file.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            raise UnreadableError(f"{file}: damaged: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from error
        if each.token != file.stem:
            raise UnreadableError(f"{file}: damaged: it holds the submission {each.token}.")
        found.append(each)
    return sorted(found, key=lambda each: each.submitted)


def void(folder: Path, token: str, task: int) -> None:
    """Mark a task as given up: should its job start after all, it ends at once, since its units are started elsewhere."""
    file = place(folder, token) / f"{task}.void"
    file.parent.mkdir(parents=True, exist_ok=True)  # a copy of a folder may lack what is empty
    file.touch()


def is_void(folder: Path, token: str, task: int) -> bool:
    """Whether a task was given up."""
    return (place(folder, token) / f"{task}.void").exists()


def has_work(folder: Path, submission: Submission, task: int) -> bool:
    """Whether a task has the file that its job reads; submitit puts it there after sbatch, and may be killed before."""
    return (place(folder, submission.token) / f"{submission.id_of(task)}_submitted.pkl").exists()


def log_of(folder: Path, submission: Submission, task: int) -> str:
    """`; see jobs/…` with what a task's job printed; empty if there is no such file."""
    file = place(folder, submission.token) / f"{submission.id_of(task)}_0_log.out"
    return f"; see {file.relative_to(folder).as_posix()}" if file.exists() else ""


def starts(folder: Path, submission: Submission, task: int) -> int:
    """How often a job of a task was started, or should have been."""
    return 1 + max((attempt.restart for attempt in attempts_of(folder, submission, task)), default=0)


def note(folder: Path, token: str, task: int, line: dict[str, Any], *, seen: bool = False, node: int = 0) -> None:
    """Append what happened in a task on one of its nodes, or with `seen` what its submitter saw, with the time."""
    file = place(folder, token) / ("seen.jsonl" if seen else _notes_of(task, node))
    file.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
    handle = os.open(file, flags, 0o644)
    try:
        if os.fstat(handle).st_nlink > 1:
            raise UsageError(f"{file} is a hard link, which no run makes. Remove it.")
        os.write(handle, (json.dumps({"task": task, "at": now(), **line}) + "\n").encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def _notes_of(task: int, node: int) -> str:
    return f"{task}.node{node}.jsonl" if node else f"{task}.jsonl"


def ended_on(folder: Path, token: str, task: int, node: int, run: tuple[str, int]) -> int | None:
    """Exit code of a unit's process on one node of its task; None as long as it has not ended there.

    Args:
        folder: the run folder.
        token: the submission's.
        task: the task.
        node: number of the node in its job.
        run: id of the job, and how often Slurm had requeued it before.
    """
    for line in _lines(place(folder, token) / _notes_of(task, node)):
        if line.get("event") == "end" and (line.get("job"), line.get("restart")) == run:
            return code if isinstance(code := line.get("exitcode"), int) else 1
    return None


def attempts_of(folder: Path, submission: Submission, task: int) -> list[Attempt]:
    """The attempts at the units of a task, in order of their starts."""
    return _attempts(folder, submission, task, list(_lines(place(folder, submission.token) / "seen.jsonl")))


def _attempts(folder: Path, submission: Submission, task: int, seen: Sequence[dict[str, Any]]) -> list[Attempt]:
    found: dict[tuple[str, str, int], Attempt] = {}
    for line in _lines(place(folder, submission.token) / _notes_of(task, 0)):
        try:
            key = (str(line["unit"]), str(line["job"]), int(line["restart"]))
            if line["event"] == "start" and key[0] in submission.tasks[task]:
                told = {"unit": key[0], "job": key[1], "restart": key[2]}
                found[key] = Attempt.model_validate({**told, "host": line["host"], "started": line["at"]})
            elif line["event"] == "end" and key in found:
                told = {name: line[name] for name in ("how", "exitcode", "hung") if name in line}
                found[key] = Attempt.model_validate({**found[key].model_dump(), **told, "ended": line["at"]})
        except (LookupError, TypeError, ValueError):
            continue  # torn by a lost node: the attempt then has no end
    return list(_explained(list(found.values()), [line for line in seen if line.get("task") == task]))


def _explained(attempts: Sequence[Attempt], seen: Sequence[dict[str, Any]]) -> Iterator[Attempt]:
    """Give attempts that could not say how they ended an end: from what came after them."""
    last = max((attempt.restart for attempt in attempts), default=0)
    for attempt in attempts:
        if attempt.how not in {None, "requeued"}:
            yield attempt
        elif attempt.restart < last:
            yield attempt.model_copy(update={"how": "requeued"})
        elif seen:
            said = OF_STATE.get(str(seen[-1].get("state")), attempt.how or "lost")
            yield attempt.model_copy(update={"how": said, "ended": attempt.ended or str(seen[-1].get("at"))})
        else:
            yield attempt


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    if file.is_symlink() or not file.is_file():
        return
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            body = json.loads(line)
        except ValueError:
            continue  # a node died while it wrote
        if isinstance(body, dict):
            yield body


def all_attempts(folder: Path) -> dict[str, list[Attempt]]:
    """The attempts at every unit of a run, by its name, in order."""
    found: dict[str, list[Attempt]] = {}
    for submission in submissions(folder):
        seen = list(_lines(place(folder, submission.token) / "seen.jsonl"))
        for task in range(len(submission.tasks)):
            of_task = [line for line in seen if line.get("task") == task] if seen else []
            for attempt in _attempts(folder, submission, task, of_task):
                found.setdefault(attempt.unit, []).append(attempt)
    return found


def in_words(attempts: Iterable[Sequence[Attempt]]) -> str | None:
    """How many units were started more than once, and why: `3 units were requeued (preempted 2, time limit 1)`."""
    again = [each for each in attempts if len(each) > 1]
    if not again:
        return None
    why: dict[str, int] = {}
    for each in again:
        for attempt in each[:-1]:
            word = "preempted or requeued" if attempt.how == "requeued" else attempt.how or "lost"
            why[word] = why.get(word, 0) + 1
    said = ", ".join(f"{word} {number}" for word, number in sorted(why.items(), key=lambda pair: -pair[1]))
    return f"{len(again)} unit{'s were' if len(again) > 1 else ' was'} requeued ({said})"
