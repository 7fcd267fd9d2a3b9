"""The interface of launchers, which start units of work and wait for them. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from modbench.harness.registry import catalogue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modbench.harness.domain.case import Device, UnitOfWork
    from modbench.harness.domain.records import Death
    from modbench.harness.results.run_folder import RunFolder


class Handle(Protocol):
    """A started unit."""

    @property
    def unit(self) -> UnitOfWork:
        """The unit."""

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
    """Starts units of work. A launcher's file exports `LAUNCHER`, a callable as `MakeLauncher`."""

    is_remote: bool
    """Whether units run on other machines: then phases need not wait for each other, and this process may be busy."""

    def refuse(self, units: Sequence[UnitOfWork]) -> None:
        """Refuse units that it could not start with its options; called before a run begins.

        Raises:
            UsageError: if there is one.
        """

    def at_once(self, usual: int) -> int:
        """How many units may run at once, given how many this machine's cores allow."""

    def start(self, unit: UnitOfWork, folder: RunFolder, timeout_s: float) -> Started:
        """Start a unit, which writes its record and its log to the run folder; after `timeout_s` it counts as hanging."""

    def wait(self, handles: list[Started], timeout_s: float) -> list[Started]:
        """Block until a unit has ended, hangs, or the time is up; return the units that ended or hang."""

    def ask(self, handle: Started) -> None:
        """Ask a training unit to save a checkpoint and end (`process/graceful_stop.py`). It is then waited for as any other."""

    def end(self, handle: Started) -> None:
        """Reap a unit; kill it if it is still running."""

    def leave(self, handles: list[Started]) -> str:
        """Detach from remote units, which go on; return a message for the user."""


class MakeLauncher(Protocol):
    """Type of what a launcher's file exports as `LAUNCHER`."""

    def __call__(
        self, *, cold: bool, threads: int, device: Device = "cpu", options: Sequence[str] = ()
    ) -> Launcher[Any]:
        """Make a launcher.

        Args:
            cold: whether every unit gets a fresh interpreter.
            threads: CPU threads of a unit.
            device: where the units run.
            options: the launcher's own options, as given behind `--` on the command line.

        Raises:
            UsageError: if an option is not one of the launcher's.
        """


def is_remote(launcher: object) -> bool:
    """Whether a launcher, or the class that makes it, starts units on other machines."""
    return bool(getattr(launcher, "is_remote", False))


def is_remote_launcher(name: str) -> bool:
    """The same of a launcher by its name in the catalogue."""
    return is_remote(catalogue.load("launchers", name))
