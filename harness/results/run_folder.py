"""The run folder: run.json with plan and environment, one atomically written JSON file per job, one per group of a rule."""

from __future__ import annotations

import errno
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modbench.harness.core import masking
from modbench.harness.core.errors import UsageError, unknown
from modbench.harness.domain.case import Job
from modbench.harness.domain.records import SCHEMA, Record
from modbench.harness.planning.plan import Plan
from modbench.harness.results import layout, lock, rule_decisions, user_files
from modbench.harness.results.json_files import DamagedError, write_sealed
from modbench.harness.results.layout import run_file
from modbench.harness.results.record_files import Damaged, read_record, stand_in, write_record
from modbench.harness.results.run_file import StoredRun, plan_of, read_finished, read_run_file, stored_plan

FINISHED = "finished.json"


@dataclass(frozen=True)
class RunFolder:
    """A run's folder and the paths in it.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def jobs(self) -> Path:
        """Folder of the records of finished jobs."""
        return self.path / "jobs"

    @property
    def logs(self) -> Path:
        """Folder of what workers printed."""
        return self.path / "logs"

    def record(self, job: Job) -> Path:
        """Path of a job's record."""
        return layout.file_of(self.path, "jobs", job.name, ".json")

    def write_record(self, record: Record) -> None:
        """Write the record of a job."""
        write_record(self.record(record.job), record)

    def log(self, job: Job) -> Path:
        """Path of what the job's process printed."""
        return layout.file_of(self.path, "logs", job.name, ".log")

    def make(self) -> None:
        """Make the folders that every job writes to, where they are missing."""
        layout.make(self.path, layout.of(self.path))

    def set_aside(self, damaged: Damaged) -> None:
        """Rename a damaged record to `NAME.json.damaged`, so that its job can run again and nothing is lost."""
        file = damaged.error.file
        names = (file.with_suffix(f".json.damaged{number}") for number in ("", *range(2, 1000)))
        file.replace(next(name for name in names if not name.exists()))

    def write_run(
        self,
        plan: Plan,
        environment: dict[str, Any],
        command: list[str],
        started: str,
        launcher: str = "local",
        options: Sequence[str] = (),
    ) -> None:
        """Write run.json: the resolved plan, the environment in which it runs, and the user's own files that it uses."""
        shown = masking.masked_command(list(options))
        chosen = layout.chosen(len(plan.jobs))
        layout.make(self.path, chosen)
        body = {
            "schema_version": SCHEMA,
            "layout": chosen,
            "started": started,
            "started_in": masking.masked(str(Path.cwd())),
            "command": masking.masked_command(command),
            "launcher": launcher,
            "launcher_options": shown,
            "code": user_files.loaded(plan.jobs, texts=True),
            "included": [each.model_dump() for each in user_files.sources()],
            "environment": masking.masked_data(environment),
            "plan": stored_plan(plan),
        }
        write_sealed(self.path / "run.json", json.dumps(body, indent=1))

    def write_finished(self, body: dict[str, Any]) -> None:
        """Write finished.json: the duration of the run, and the parent's CPU time during timed jobs."""
        write_sealed(self.path / FINISHED, json.dumps(body, indent=1))


def create(out: str | None, suite_name: str) -> RunFolder:
    """Make a fresh run folder: `out`, or `runs/<suite>-<date>-<n>`.

    Raises:
        UsageError: if it cannot be written, or is not empty.
    """
    if out is None:
        path = layout.unused(suite_name)
    elif not out.strip():
        raise UsageError("--out '' names no folder. Name a new folder, or omit --out.")
    else:
        path = Path(out)
    if path.is_dir() and not _only_begun(path):
        what = "another run" if (path / "run.json").exists() else "other files"
        raise UsageError(f"--out {str(path)!r} already holds {what}; files are never overwritten. Name a new folder.")
    folder = RunFolder(path)
    try:
        folder.jobs.mkdir(parents=True, exist_ok=True)
        folder.logs.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise UsageError(
            f"--out {str(path)!r} cannot be written: {error.strerror}. Name a folder that you may write to."
        ) from error
    return folder


# What a run leaves that was ended before it wrote its plan.
BEGUN = {"jobs", "logs", lock.NAME, layout.MARK}


def _only_begun(path: Path) -> bool:
    """Whether a folder holds nothing, or nothing but what a run leaves that ended before its first job."""
    for entry in path.iterdir():
        if entry.name not in BEGUN or entry.is_symlink():
            return False
        if entry.is_dir() and any(not each.is_dir() for each in entry.rglob("*")):
            return False
    return True


def read(folder: str, *, include: bool = False) -> StoredRun:
    """Read a run folder, complete or not.

    Args:
        folder: its path.
        include: whether to include the folders with additions that it names, whose code then runs; else it is data alone.

    Raises:
        UsageError: if it is not a run folder, or one of its files cannot be read.
    """
    path = Path(folder)
    file = run_file(folder)
    told = read_run_file(file)
    if told.layout != layout.of(path):
        raise DamagedError(
            file, f"its layout is not that of {layout.MARK}: one of the two is missing, or of another run"
        )
    if include:
        user_files.include_again(told.included)
    whole, absent = plan_of(told.plan, file), tuple[str, ...]()
    if include:
        user_files.check_known(whole, file, told.included)
    else:
        whole, absent = user_files.readable(whole, file, told.included)
    decided = rule_decisions.read(path, whole)
    needed, undecided = rule_decisions.required_jobs(whole, decided, lambda job: RunFolder(path).record(job).is_file())
    plan = whole.model_copy(update={"jobs": needed})
    records, missing, damaged = [], [], []
    for job in plan.jobs:
        record_file = RunFolder(path).record(job)
        if not record_file.exists():
            missing.append(job.name)
            continue
        try:
            records.append(read_record(record_file, job))
        except DamagedError as error:
            # Its traceback would keep all that was read of the file.
            error.__traceback__ = error.__cause__ = error.__context__ = None
            damaged.append(Damaged(job.name, error))
            records.append(stand_in(job, path, error))
    return StoredRun(
        path,
        plan,
        records=records,
        missing=missing,
        damaged=damaged,
        finished=read_finished(path / FINISHED),
        undecided=undecided,
        decisions=decided,
        environment=told.environment,
        command=told.command,
        started=told.started,
        launcher=told.launcher,
        options=told.launcher_options,
        planned=whole.jobs,
        code=told.code,
        started_in=told.started_in,
        included=told.included,
        absent=absent,
    )


def planned_job(folder: Path, name: str) -> Job:
    """A job of the plan in `run.json`, with the plug-ins that the run began with; no record is read.

    Raises:
        UsageError: if the folder holds no readable plan, or no such job.
    """
    file = run_file(folder)
    told = read_run_file(file)
    user_files.include_again(told.included)
    jobs = plan_of(told.plan, file, only=name).jobs
    if not jobs:
        raise unknown("job", name, [job["name"] for job in told.plan["jobs"]])
    (job,) = jobs
    return job


def has_checkpoint(path: Path) -> bool:
    """Whether a training run of the folder can go on from a checkpoint."""
    return any((path / "checkpoints").rglob("*.pt"))
