"""What decides in a run which of its units run: pilots or searches of what is timed, and confirmations of what is trained."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from modbench.harness.execution.confirming import Confirmations
from modbench.harness.execution.pilot import Pilots
from modbench.harness.execution.searching import Searches

if TYPE_CHECKING:
    from modbench.harness.core.asking import Asked, Asking
    from modbench.harness.core.case import UnitOfWork
    from modbench.harness.planning.plan import Plan
    from modbench.harness.results.run_folder import RunFolder


def asking_of(plan: Plan, folder: RunFolder, units: Iterable[UnitOfWork]) -> Asking:
    """Return what decides about the units of a plan.

    Args:
        plan: the whole plan, of a resumed run too.
        folder: holds records and what was decided.
        units: those that this run measures.
    """
    timed = Searches if plan.suite.search is not None else Pilots
    return Several((timed(plan, folder, units), Confirmations(plan, folder, units)))


class Several:
    """Several that ask; each decides about units of its own.

    Args:
        asking: those that ask.
    """

    def __init__(self, asking: tuple[Asking, ...]) -> None:
        self.asking = asking
        self._by_group: dict[str, Asking] = {}

    @property
    def cpu_s(self) -> float:
        """CPU time spent on decisions."""
        return sum(each.cpu_s for each in self.asking)

    def group(self, unit: UnitOfWork) -> str:
        """What a unit is asked for with; empty if nothing decides about it."""
        for each in self.asking:
            if group := each.group(unit):
                self._by_group[group] = each
                return group
        return ""

    def later(self, unit: UnitOfWork) -> bool:
        """Whether the unit runs only if it is asked for."""
        asking = self._by_group.get(self.group(unit))
        return asking is not None and asking.later(unit)

    def ended(self, unit: UnitOfWork) -> None:
        """A unit has ended, and its record is complete."""
        for each in self.asking:
            each.ended(unit)

    def asked(self, group: str) -> Asked | None:
        """Return what was asked for in a group; None if that cannot be decided yet."""
        return self._by_group[group].asked(group)
