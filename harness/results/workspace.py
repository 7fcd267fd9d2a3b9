"""Files that the running job keeps besides its record: a checkpoint, its progress, artifacts.

A worker sets the workspace before it runs a pass. Without one (in a test or script) nothing is kept.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modbench.harness.core.atomic_files import unfinished, write_atomically
from modbench.harness.machine.process.torchrun import ALONE, Ranks
from modbench.harness.results import layout
from modbench.harness.results.json_files import DamagedError, read_sealed, write_sealed

# Seconds between two lines about the same step.
SAY_S = 1.0
# Characters of a line of progress that are shown.
MOST_LINE = 500


@dataclass(frozen=True)
class Workspace:
    """A job's place in its run folder.

    Attributes:
        run: the run folder.
        job: the job's name.
        ranks: the processes that share it.
        tell: called with the job's progress as well, which is always written to a file; None: nothing is.
        keeps_weights: whether trained weights are kept.
    """

    run: Path
    job: str
    ranks: Ranks = ALONE
    tell: Callable[[Any], None] | None = None
    keeps_weights: bool = False

    def _file(self, folder: str, suffix: str) -> Path:
        return layout.file_of(self.run, folder, self.job, suffix)

    @property
    def checkpoint(self) -> Path:
        """Checkpoint from which a killed training run resumes."""
        return self._file("checkpoints", ".pt")

    @property
    def weights(self) -> Path:
        """The trained model's state dict."""
        return self._file("weights", ".pt")

    @property
    def progress(self) -> Path:
        """File with one line about the job's progress; rewritten about once a second."""
        return self._file("logs", ".progress")

    def say(self, progress: object) -> None:
        """Write the job's progress as one line, for whoever watches the run; of several ranks the first one says it."""
        if not self.ranks.first:
            return
        with contextlib.suppress(OSError):  # a full disk ends what must be kept, not what is merely shown
            write_atomically(self.progress, str(progress), sync=False)
        if self.tell is not None:
            self.tell(progress)

    def said(self) -> str:
        """The job's line of progress, cut if it is long; empty if there is none."""
        try:
            line = self.progress.read_bytes()
        except OSError:
            return ""
        return " ".join(line.decode("utf-8", errors="replace").split())[:MOST_LINE]

    def record_of(self, job: str) -> Path:
        """Path of the record of another job of the run."""
        return layout.file_of(self.run, "jobs", job, ".json")

    def tidy(self) -> None:
        """Remove files that are not needed once there is a record; their folder stays, which other jobs may write to now."""
        for file in (self.checkpoint, unfinished(self.checkpoint), self.progress):
            file.unlink(missing_ok=True)

    def keep(self, found: dict[str, Any]) -> None:
        """Save an artifact for the report, too long for a table: JSON in `artifacts/`."""
        file = self._file("artifacts", ".json")
        file.parent.mkdir(parents=True, exist_ok=True)
        write_sealed(file, json.dumps(found))


@dataclass
class Steps:
    """Says in the job's progress what it does; outside a workspace nobody is told.

    A new step is said at once, since it may last; a repeated one, which differs behind its first comma, once a second.

    Attributes:
        of: what the steps belong to.
        clock: time in s.
    """

    of: str
    clock: Callable[[], float] = time.monotonic
    _last: tuple[str, float] = ("", 0.0)

    def say(self, step: str) -> None:
        """Say a step: `whether it reads later tokens, call 3 of 18 (counting dense[…], 1 of 9)`; the end of a line may be cut."""
        (what, at), now = self._last, self.clock()
        if HERE is None or (step.partition(",")[0] == what and now - at < SAY_S):
            return
        self._last = step.partition(",")[0], now
        HERE.say(f"{step} ({self.of})")


def remove_empty(run: Path) -> None:
    """Remove empty folders of what jobs keep while they run. Only at the end: a job that runs may be about to write there."""
    for kept in (run / "checkpoints", run / "loggers"):
        for folder in (*kept.glob("*/"), kept):
            with contextlib.suppress(OSError):  # it is not empty, or is a file, or does not exist
                folder.rmdir()


def artifact(run: Path, job: str) -> dict[str, Any] | None:
    """Read a job's artifact; None if there is none.

    Raises:
        UsageError: if it is damaged.
    """
    file = layout.file_of(run, "artifacts", job, ".json")
    if not file.is_file():
        return None
    try:
        return read_sealed(file)
    except DamagedError as error:
        raise DamagedError(file, f"{error.problem}. If you remove it, its sections stay empty") from error


# The workspace of the job that this process is running.
HERE: Workspace | None = None


@contextlib.contextmanager
def at(here: Workspace) -> Iterator[None]:
    """Set the workspace in the `with` block."""
    global HERE  # noqa: PLW0603  # a process runs one job at a time
    before, HERE = HERE, here
    try:
        yield
    finally:
        HERE = before
