"""What a launcher exports: how units of work are started and waited for. Plain data, no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from modbench.harness.core.case import UnitOfWork


class Handle(Protocol):
    """A unit that was started."""

    @property
    def unit(self) -> UnitOfWork:
        """The unit."""

    @property
    def record(self) -> Path:
        """Where its record appears when it is done."""

    @property
    def running(self) -> bool:
        """Whether it still runs."""

    @property
    def exitcode(self) -> int | None:
        """How its process ended: 0 or a code, the negative number of a signal; None if it runs or nobody knows."""


Started = TypeVar("Started", bound=Handle)


class Launcher(Protocol[Started]):
    """Starts units of work. A launcher's file exports `LAUNCHER`, a callable as `MakeLauncher`."""

    def start(self, unit: UnitOfWork, record: Path, log: Path, timeout_s: float) -> Started:
        """Start a unit, which leaves its record and its log; after `timeout_s` it counts as hanging."""

    def wait(self, handles: list[Started], timeout_s: float) -> list[Started]:
        """Block until a unit has ended, hangs, or the time is up; return the units that ended or hang."""

    def end(self, handle: Started) -> None:
        """Reap a unit; kill it if it still runs."""


class MakeLauncher(Protocol):
    """What a launcher's file exports as `LAUNCHER`."""

    def __call__(self, *, cold: bool, threads: int) -> Launcher[Any]:
        """Make a launcher.

        Args:
            cold: whether every unit gets a fresh interpreter.
            threads: CPU threads of a unit.
        """
