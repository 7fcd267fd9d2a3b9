"""The progress of a run, in `progress.json`: its runner writes it, `modbench watch` shows it. It is no evidence of anything."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from modbench.harness.core.atomic_files import replacing
from modbench.harness.core.plain_text import escaped_json
from modbench.harness.core.units import human_span
from modbench.harness.results.json_files import load, parse

NAME = "progress.json"
# A runner names so many running jobs and failures.
MOST_RUNNING, MOST_FAILURES, MOST_TEXT = 64, 100, 300

Number = Annotated[int, Field(ge=0, le=10**9)]
Seconds = Annotated[float, Field(ge=0, le=1e12)]
State = Literal["running", "stopping", "finished", "stopped", "failed"]


class _Part(BaseModel):
    """A part of the file. Fields that a later version adds are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")


class Group(_Part):
    """Jobs of one pass by state: `done` are those without a failed cell, `failed` those with one."""

    name: str
    done: Number = 0
    failed: Number = 0
    running: Number = 0
    waiting: Number = 0

    @property
    def jobs(self) -> int:
        """All of them."""
        return self.done + self.failed + self.running + self.waiting


class Running(_Part):
    """A job that runs, or was submitted, and when it started. Its last line of progress is in `logs/JOB.progress`."""

    job: str
    since: str


class Failure(_Part):
    """Cells of a job that failed for one reason, and the place of its log in the run folder."""

    job: str
    case: str
    metrics: list[str]
    reason: str
    log: str | None = None


class RunProgress(_Part):
    """The progress of a run.

    Attributes:
        title: suite, effort and device.
        resumable: whether `modbench resume` continues it; else its command is repeated.
        state: `running`; `stopping` after the first Ctrl-C; `finished`; `stopped` by a signal; `failed` by an error.
        written: when this was written, UTC, ISO 8601.
        started: when the runner started.
        elapsed_s: seconds since then.
        left_s: expected seconds left, without jobs that a rule may still ask for; None where that is not known.
        most_s: the same with all of these jobs, on a machine as busy as earlier runs found it, until this one shows how busy it
            is.
        left_reason: why the time left is not known.
        more: whether a rule may still ask for jobs.
        remote: whether jobs run on other machines: `running` are then those that were submitted and have not ended.
        note: why the run stopped or failed, and what goes on elsewhere.
        groups: jobs by pass, in the plan's order.
        running: the first jobs that run, by start.
        failures: the first failures.
        failures_left_out: number of further failures.
        decisions: what each rule has asked for, in words.
        age_s: seconds since it was written, once it is read; not in the file.
    """

    title: str = ""
    resumable: bool = True
    state: State = "running"
    written: str = ""
    started: str = ""
    elapsed_s: Seconds = 0.0
    left_s: Seconds | None = None
    most_s: Seconds | None = None
    left_reason: str = ""
    more: bool = False
    remote: bool = False
    note: str = ""
    groups: list[Group] = Field(default_factory=list)
    running: list[Running] = Field(default_factory=list)
    failures: list[Failure] = Field(default_factory=list)
    failures_left_out: Number = 0
    decisions: list[str] = Field(default_factory=list)
    age_s: float = Field(default=0.0, exclude=True)

    @property
    def ended(self) -> int:
        """Number of jobs with a record."""
        return sum(group.done + group.failed for group in self.groups)

    @property
    def all_ended(self) -> bool:
        """Whether every job has a record, and no rule may ask for more."""
        return self.ended == sum(group.jobs for group in self.groups) and not self.more

    @property
    def count(self) -> str:
        """Jobs with a record and in all, `12/34`; `12/34+` while a rule may ask for more."""
        return f"{self.ended}/{sum(group.jobs for group in self.groups)}{'+' * self.more}"

    @property
    def left(self) -> str:
        """The time left in words: `3 min 02 s left`, or `3 to 9 min left` while a rule may ask for more, or the load is open."""
        if self.left_s is None or self.most_s is None:
            return f"time left unknown: {self.left_reason}"
        return f"{human_span(self.left_s, self.most_s)} left"


def write(run: Path, now: RunProgress) -> None:
    """Replace the progress of a run; a folder that cannot be written is left as it is.

    Only the runner that holds the folder writes, so an unfinished file has one name, and a killed runner leaves one at most.
    """
    file = run / NAME
    with contextlib.suppress(OSError), replacing(file, file.with_name(f".{NAME}.part"), sync=False) as opened:
        opened.write(escaped_json(now.model_dump_json(indent=1)).encode())


def read(run: Path) -> RunProgress | None:
    """The progress of a run as it was written last; None if there is none.

    Raises:
        UsageError: if the file is damaged.
    """
    file = run / NAME
    try:
        written, content = file.stat().st_mtime, file.read_bytes()
    except FileNotFoundError:
        return None
    found = parse(RunProgress, load(file, content), file)
    found.age_s = max(0.0, time.time() - written)
    return found
