"""What a launcher exports: how units of work are started and waited for. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from modbench.harness.core.case import UnitOfWork


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


Started = TypeVar("Started", bound=Handle)


class Launcher(Protocol[Started]):
    """Starts units of work. A launcher's file exports `LAUNCHER`, a callable as `MakeLauncher`."""

    def start(self, unit: UnitOfWork, record: Path, log: Path, timeout_s: float) -> Started:
        """Start a unit, which writes its record and its log; after `timeout_s` it counts as hanging."""

    def wait(self, handles: list[Started], timeout_s: float) -> list[Started]:
        """Block until a unit has ended, hangs, or the time is up; return the units that ended or hang."""

    def end(self, handle: Started) -> None:
        """Reap a unit; kill it if it is still running."""


class MakeLauncher(Protocol):
    """Type of what a launcher's file exports as `LAUNCHER`."""

    def __call__(self, *, cold: bool, threads: int) -> Launcher[Any]:
        """Make a launcher.

        Args:
            cold: whether every unit gets a fresh interpreter.
            threads: CPU threads of a unit.
        """
