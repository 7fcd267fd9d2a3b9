"""What decides, while a run goes on, which of its units run: a pilot asks for more launches, a search for more cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from modbench.harness.core.case import UnitOfWork


class Asked(NamedTuple):
    """What was asked for.

    Attributes:
        turns: names of all units that were asked for so far; those of a later turn run after those of an earlier one.
        last: whether nothing more will be asked for.
    """

    turns: Mapping[str, int]
    last: bool


class Asking(Protocol):
    """Asks for units. What it decides follows from the records in the run folder, so that a resumed run decides the same."""

    @property
    def cpu_s(self) -> float:
        """CPU time spent on decisions."""

    def group(self, unit: UnitOfWork) -> str:
        """What a unit is asked for with: a series, or a row of cells; empty if nothing decides about it."""

    def later(self, unit: UnitOfWork) -> bool:
        """Whether the unit runs only if it is asked for."""

    def ended(self, unit: UnitOfWork) -> None:
        """A unit has ended, and its record is complete."""

    def asked(self, group: str) -> Asked | None:
        """Return what was asked for in a group; None if that cannot be decided yet."""
