"""The interface of launchers, which start jobs and wait for them, and their options from a file. No torch."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from modbench.harness.core.errors import UnreadableError, UsageError, near_path
from modbench.harness.registry import catalogue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modbench.harness.domain.case import Device, Job
    from modbench.harness.domain.records import Death
    from modbench.harness.results.run_folder import RunFolder


class Handle(Protocol):
    """A started job."""

    @property
    def job(self) -> Job:
        """The job."""

    @property
    def record(self) -> Path:
        """Path of the record that it writes when it is done."""

    @property
    def running(self) -> bool:
        """Whether it is still running."""

    @property
    def exitcode(self) -> int | None:
        """Exit code of its process, negative for a signal; None if it is running or the code is unknown."""

    @property
    def died(self) -> Death | None:
        """How it ended without a record by no fault of its process, such as a job that was cancelled; None: as its code says."""


Started = TypeVar("Started", bound=Handle)


class Launcher(Protocol[Started]):
    """Starts jobs. A launcher's file exports `LAUNCHER`, a callable as `MakeLauncher`."""

    is_remote: bool
    """Whether jobs run on other machines: then phases need not wait for each other, and this process may be busy."""

    def refuse(self, jobs: Sequence[Job]) -> None:
        """Refuse jobs that it could not start with its options; called before a run begins.

        Raises:
            UsageError: if there is one.
        """

    def at_once(self, usual: int) -> int:
        """How many jobs may run at once, given how many this machine's cores allow."""

    def start(self, job: Job, folder: RunFolder, timeout_s: float) -> Started:
        """Start a job, which writes its record and its log to the run folder; after `timeout_s` it counts as hanging."""

    def wait(self, handles: list[Started], timeout_s: float) -> list[Started]:
        """Block until a job has ended, hangs, or the time is up; return the jobs that ended or hang."""

    def ask(self, handle: Started) -> None:
        """Ask a training job to save a checkpoint and end (`process/graceful_stop.py`). It is then waited for as any other."""

    def end(self, handle: Started) -> None:
        """Reap a job; kill it if it is still running."""

    def leave(self, handles: list[Started]) -> str:
        """Detach from remote jobs, which go on; return a message for the user."""


class MakeLauncher(Protocol):
    """Type of what a launcher's file exports as `LAUNCHER`."""

    def __call__(
        self, *, cold: bool, threads: int, device: Device = "cpu", options: Sequence[str] = ()
    ) -> Launcher[Any]:
        """Make a launcher.

        Args:
            cold: whether every job gets a fresh interpreter.
            threads: CPU threads of a job.
            device: where the jobs run.
            options: the launcher's own options, as given behind `--` on the command line.

        Raises:
            UsageError: if an option is not one of the launcher's.
        """


def is_remote(launcher: object) -> bool:
    """Whether a launcher, or the class that makes it, starts jobs on other machines."""
    return bool(getattr(launcher, "is_remote", False))


def is_remote_launcher(name: str) -> bool:
    """The same of a launcher by its name in the catalogue."""
    return is_remote(catalogue.load("launchers", name))


# An option in a batch script, such as `#SBATCH --partition=gpu`.
IN_A_SCRIPT = "#SBATCH"


def read_profile(file: str | Path) -> tuple[str, ...]:
    """Return a profile's options as they would stand on the command line: `--partition=gpu`, `--exclusive`.

    Args:
        file: lines of options, with or without `#SBATCH`, and comments.

    Raises:
        UsageError: if it cannot be read, or holds what is no option.
    """
    path = Path(file)
    if path.exists() and not path.is_file():  # a device may have no end
        raise UsageError(f"--launcher-profile {str(file)!r} is not a file.")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        near = "" if path.exists() else near_path(path, Path.is_file)
        raise UnreadableError(f"--launcher-profile {str(file)!r} cannot be read: {why}.{near}") from error
    words: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        said = line.strip().removeprefix(IN_A_SCRIPT).strip()
        try:
            found = shlex.split(said, comments=True)
        except ValueError as error:
            raise UsageError(f"{path}: line {number}: {error}.") from error
        if found and not found[0].startswith("-"):
            raise UsageError(f"{path}: line {number} is no option: {said[:60]!r}. Write one as --partition=gpu.")
        words += found
    return tuple(words)
