"""Decides which fresh runs of a confirmation are trained, from the records on disk, whenever a run has ended."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from modbench.harness.core.asking import Asked
from modbench.harness.planning.confirming import confirmation_of, confirms
from modbench.harness.results import confirmed
from modbench.harness.results.record_files import read_record

if TYPE_CHECKING:
    from modbench.harness.core.case import UnitOfWork
    from modbench.harness.planning.plan import Plan
    from modbench.harness.results.confirmed import Found
    from modbench.harness.results.run_folder import RunFolder


class Confirmations:
    """The confirmations of a plan.

    Args:
        plan: the whole plan, of a resumed run too.
        folder: holds records and confirmations that have ended.
        units: those that this run measures; until one has ended, what the folder holds of it is old, or not complete.

    Attributes:
        cpu_s: CPU time spent on decisions.
    """

    def __init__(self, plan: Plan, folder: RunFolder, units: Iterable[UnitOfWork] = ()) -> None:
        self.folder, self.cpu_s = folder, 0.0
        self.confirmations = plan.confirmations()
        self._open = {unit.name for unit in units}
        self._found: dict[str, Found] = {}

    def group(self, unit: UnitOfWork) -> str:
        """The confirmation that a unit explores for, or confirms; empty if it does neither."""
        name = confirmation_of(unit)
        return name if name in self.confirmations else ""

    def later(self, unit: UnitOfWork) -> bool:
        """Whether the unit runs only if a confirmation asks for it."""
        return confirms(unit)

    def ended(self, unit: UnitOfWork) -> None:
        """A unit has ended, and its record is complete."""
        self._open.discard(unit.name)

    def asked(self, group: str) -> Asked:
        """Return what a confirmation has asked for so far; when it asks for nothing more, that is written down, once."""
        made, start = self.confirmations[group], time.process_time()
        followed = confirmed.follow(made, self._of)
        if followed.confirmed is not None and not confirmed.file_of(self.folder.path, group).exists():
            confirmed.write(self.folder.path, followed.confirmed)
        self.cpu_s += time.process_time() - start
        return Asked(followed.turns, last=followed.confirmed is not None)

    def _of(self, unit: UnitOfWork) -> Found | None:
        """The loss that a run left; None until it has ended."""
        if unit.name not in self._found:
            file = self.folder.record(unit)
            if unit.name in self._open or not file.exists():
                return None
            self._found[unit.name] = confirmed.found_in(read_record(file))
        return self._found[unit.name]
