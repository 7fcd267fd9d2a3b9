"""Decides which cells of a searched row are measured next, from the records on disk, whenever a cell has ended.

As with pilots, it works between two timed units, while no unit runs.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from modbench.harness.core.asking import Asked
from modbench.harness.results import searched
from modbench.harness.results.record_files import read_record

if TYPE_CHECKING:
    from modbench.harness.core.case import UnitOfWork
    from modbench.harness.planning.plan import Plan
    from modbench.harness.planning.rows import Cell, Row
    from modbench.harness.results.run_folder import RunFolder
    from modbench.harness.results.searched import Found


class Searches:
    """The searches of a plan.

    Args:
        plan: the whole plan, of a resumed run too.
        folder: holds records and searches that have ended.
        units: those that this run measures; until one has ended, what the folder holds of it is old, or not complete.

    Attributes:
        cpu_s: CPU time spent on decisions.
    """

    def __init__(self, plan: Plan, folder: RunFolder, units: Iterable[UnitOfWork] = ()) -> None:
        self.folder, self.cpu_s = folder, 0.0
        self.rows = plan.rows()
        self._open = {unit.name for unit in units}
        self._found: dict[str, tuple[Found, ...]] = {}

    def group(self, unit: UnitOfWork) -> str:
        """The row that a unit belongs to; empty if it belongs to none."""
        return unit.row

    def later(self, unit: UnitOfWork) -> bool:
        """Whether the unit runs only if a search asks for it."""
        return bool(unit.row)

    def ended(self, unit: UnitOfWork) -> None:
        """A unit has ended, and its record is complete."""
        self._open.discard(unit.name)

    def asked(self, group: str) -> Asked:
        """Return what a row has asked for so far; when it asks for nothing more, that is written down, once."""
        row, start = self.rows[group], time.process_time()
        followed = searched.follow(row, lambda at: self._of(row, row.cells[at]))
        turns = {unit.name: i for i, wave in enumerate(followed.waves) for at in wave for unit in row.cells[at].units}
        if followed.ended and not searched.file_of(self.folder.path, group).exists():
            searched.write(self.folder.path, searched.written(row, followed))
        self.cpu_s += time.process_time() - start
        return Asked(turns, last=followed.ended)

    def _of(self, row: Row, cell: Cell) -> tuple[Found, ...] | None:
        """What a cell says; None until all its launches have ended."""
        if cell.series not in self._found:
            files = [self.folder.record(unit) for unit in cell.units]
            if any(unit.name in self._open for unit in cell.units) or not all(file.exists() for file in files):
                return None
            records = [read_record(file) for file in files]
            self._found[cell.series] = searched.found_in(cell, records, row.against)
        return self._found[cell.series]
