"""Which units of a plan a run needs, as its folder shows: without launches that no pilot, and cells that no search asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from modbench.harness.core.case import UnitOfWork
from modbench.harness.core.errors import UsageError
from modbench.harness.planning.confirming import Confirmation, confirms
from modbench.harness.planning.plan import Plan
from modbench.harness.planning.rows import Cell, Row
from modbench.harness.results import confirmed, confirmed_file, searched
from modbench.harness.results.confirmed import Confirmed
from modbench.harness.results.launches import Decision
from modbench.harness.results.reading import DamagedError, Problem
from modbench.harness.results.record_files import read_record
from modbench.harness.results.records import Record
from modbench.harness.results.searched import Found, Searched

if TYPE_CHECKING:
    from modbench.harness.results.run_folder import RunFolder

# By how much an effect may differ from what its records say now, on the log scale.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Needed:
    """What a run needs.

    Attributes:
        units: those that were asked for, in plan order, and all about which nothing decides.
        undecided: units that may yet be asked for.
        decisions: what pilots decided, by series.
        searches: searches that have ended, by row.
        confirmations: confirmations that have ended, by name.
    """

    units: tuple[UnitOfWork, ...]
    undecided: tuple[UnitOfWork, ...]
    decisions: Mapping[str, Decision]
    searches: Mapping[str, Searched]
    confirmations: Mapping[str, Confirmed] = field(default_factory=dict)


def needed(plan: Plan, folder: RunFolder) -> Needed:
    """Return what a run needs, as its folder shows.

    Raises:
        UsageError: if a file that says what was asked for is damaged.
    """
    timed = _of_search(plan, folder) if plan.suite.search is not None else _of_pilots(plan, folder)
    return timed if plan.suite.confirm is None else _of_confirmations(plan, folder, timed)


def _of_confirmations(plan: Plan, folder: RunFolder, timed: Needed) -> Needed:
    """Leave out the fresh runs that no confirmation has asked for; those that it may ask for yet are undecided."""
    ended, asked, open_ = dict[str, Confirmed](), set[str](), set[str]()
    for made in plan.confirmations().values():
        told = confirmed_file.read(folder.path, made)
        if told is not None:
            ended[made.name] = told
            asked |= _asked_for(made, told)
            continue
        fresh = {unit.name: unit for runs in made.fresh.values() for unit in runs.values()}
        asked |= confirmed.follow(made, _found(folder)).turns.keys()
        # Of runs that were made before others were damaged, it may ask again.
        asked |= {name for name, unit in fresh.items() if folder.record(unit).is_file()}
        open_ |= fresh.keys() - asked
    units = tuple(unit for unit in timed.units if not confirms(unit) or unit.name in asked)
    undecided = (*timed.undecided, *(unit for unit in plan.units if unit.name in open_))
    return replace(timed, units=units, undecided=undecided, confirmations=ended)


def _asked_for(made: Confirmation, told: Confirmed) -> set[str]:
    """Names of the fresh runs of a confirmation that has ended."""
    return {made.fresh[each.case][seed].name for each in told.chosen for seed in each.seeds}


def _found(folder: RunFolder) -> Callable[[UnitOfWork], confirmed.Found | None]:
    def found(unit: UnitOfWork) -> confirmed.Found | None:
        file = folder.record(unit)
        try:
            return confirmed.found_in(read_record(file, unit)) if file.is_file() else None
        except UsageError:  # damaged: the reader of the records says so
            return None

    return found


def check_confirmations(plan: Plan, told: Mapping[str, Confirmed], records: Sequence[Record], path: Path) -> None:
    """Check that what confirmations found is what the records say.

    Args:
        plan: the whole plan.
        told: those that have ended.
        records: those that can be believed.
        path: the run folder.

    Raises:
        DamagedError: if it is not.
    """
    by_name = {record.unit.name: confirmed.found_in(record) for record in records} if told else {}
    for made in plan.confirmations().values() if told else ():
        if made.name not in told:
            continue
        now = confirmed.follow(made, lambda unit: by_name.get(unit.name)).confirmed
        rests_on = {unit.name for unit in made.explored} | _asked_for(made, told[made.name])
        # Where some records are missing, nobody can tell; where all are there, it must have ended.
        if not confirmed.alike(told[made.name], now) if now is not None else rests_on <= by_name.keys():
            file = confirmed.file_of(path, made.name)
            raise DamagedError(file, f"it says something else than the records. {confirmed.AGAIN}")


def _of_pilots(plan: Plan, folder: RunFolder) -> Needed:
    """Of an undecided pilot the first further launch counts as planned: until the number stands, the run is not complete."""
    found = {series: folder.decision(series) for series in plan.piloted()}
    decisions = {series: decision for series, decision in found.items() if decision is not None}
    pilot, _ = plan.suite.protocol_size
    units, undecided = [], []
    for unit in plan.units:
        decision = decisions.get(unit.series)
        if not plan.after_pilot(unit) or (unit.launch < decision.made if decision else unit.launch == pilot):
            units.append(unit)
        elif decision is None:
            undecided.append(unit)
    return Needed(tuple(units), tuple(undecided), decisions, {})


def _of_search(plan: Plan, folder: RunFolder) -> Needed:
    """Of a search that has not ended, what it has asked for so far follows from the records.

    Cells that were measured before some others were damaged stay: it may ask for them again.
    """
    ended, state = {}, dict[str, bool]()  # of each cell's series, whether it was asked for; missing: it may be yet
    for row in plan.rows().values():
        told = searched.read(folder.path, row)
        if told is not None:
            ended[row.name] = told
            state |= dict.fromkeys((cell.series for cell in row.cells), False)
            state |= dict.fromkeys((cell.series for cell in told.cells), True)
        else:
            followed = searched.follow(row, _measured(row, folder))
            state |= {row.cells[at].series: True for at in followed.asked}
            state |= {
                cell.series: True for cell in row.cells if all(folder.record(unit).is_file() for unit in cell.units)
            }
    units, undecided = [], []
    for unit in plan.units:
        if not plan.on_request(unit) or state.get(unit.series):
            units.append(unit)
        elif unit.series not in state:
            undecided.append(unit)
    return Needed(tuple(units), tuple(undecided), {}, ended)


def _measured(row: Row, folder: RunFolder) -> Callable[[int], tuple[Found, ...] | None]:
    def found(at: int) -> tuple[Found, ...] | None:
        cell = row.cells[at]
        files = [(folder.record(unit), unit) for unit in cell.units]
        if not all(file.is_file() for file, _ in files):
            return None
        try:
            return searched.found_in(cell, [read_record(*each) for each in files], row.against)
        except UsageError:  # damaged: the reader of the records says so
            return None

    return found


def check_searches(plan: Plan, searches: Mapping[str, Searched], records: Sequence[Record], path: Path) -> None:
    """Check that what searches rested on is what the records say.

    Args:
        plan: the whole plan.
        searches: those that have ended.
        records: those that can be believed.
        path: the run folder.

    Raises:
        DamagedError: if it is not.
    """
    by_name = {record.unit.name: record for record in records} if searches else {}
    for row in plan.rows().values():
        told = searches.get(row.name)
        problem = None if told is None else _contradicted(row, told, by_name)
        if problem is not None:
            raise DamagedError(searched.file_of(path, row.name), f"{problem}. {searched.AGAIN}")


def _contradicted(row: Row, told: Searched, records: Mapping[str, Record]) -> Problem | None:
    cells = {cell.series: cell for cell in row.cells}
    for i, visited in enumerate(told.cells):
        cell: Cell = cells[visited.series]
        if not all(unit.name in records for unit in cell.units):
            continue
        now = searched.found_in(cell, [records[unit.name] for unit in cell.units], row.against)
        for j, (then, found) in enumerate(zip(visited.found, now, strict=True)):
            if not _alike(then, found):
                said = f"{_words(then)}, but the records say {_words(found)}"
                return Problem(("cells", i, "found", j, "value"), said)
    return None


def _alike(one: Found, other: Found) -> bool:
    if one.value is None or other.value is None:
        return one.value is other.value
    return math.isclose(one.value, other.value, rel_tol=0.0, abs_tol=TOLERANCE)


def _words(found: Found) -> str:
    return "no effect" if found.value is None else f"{found.value:.4g}"
