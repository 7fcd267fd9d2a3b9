"""Lets rules decide, while a run goes on, which of its units run. It works between two timed units, while no unit runs."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from modbench.harness.core.errors import ModbenchError
from modbench.harness.registry import catalogue
from modbench.harness.results import decisions
from modbench.harness.results.decisions import Decided
from modbench.harness.results.record_files import read_record

if TYPE_CHECKING:
    from modbench.harness.domain.case import UnitOfWork
    from modbench.harness.domain.records import Record
    from modbench.harness.planning.plan import Plan
    from modbench.harness.results.run_folder import RunFolder


class Asker:
    """Asks the rules of a plan, and keeps their decisions.

    Args:
        plan: the whole plan, of a resumed run too.
        folder: holds records and decisions.
        units: those that this run measures. Until one has ended, its record in the folder is old or incomplete.

    Attributes:
        cpu_s: CPU time spent on decisions.
        decided: decisions so far, by group.
    """

    def __init__(self, plan: Plan, folder: RunFolder, units: Iterable[UnitOfWork] = ()) -> None:
        self.suite, self.folder, self.cpu_s = plan.suite, folder, 0.0
        self._rules = {group.name: group.rule for group in plan.groups}
        self._units: dict[str, list[UnitOfWork]] = {name: [] for name in self._rules}
        for unit in plan.units:
            if unit.group:
                self._units[unit.group].append(unit)
        self.decided = decisions.read(folder.path, plan)
        self._open = {unit.name for unit in units}
        self._records: dict[str, Record] = {}

    def ended(self, unit: UnitOfWork) -> None:
        """A unit has ended, and its record is complete."""
        self._open.discard(unit.name)

    def decide_all(self) -> None:
        """Decide about every group, also those of which no unit is left to run: their decisions may have been removed."""
        for group in self._rules:
            self.decide(group)

    def decide(self, group: str) -> Decided:
        """Return the decision about a group, with all that follows from its records now."""
        name = self._rules[group]
        before = decided = self.decided.get(group, Decided(rule=name, group=group))
        start = time.process_time()
        while not decided.ended and (records := self._of(group, decided)) is not None:
            decision = catalogue.load("rules", name).decide(self.suite, self._units[group], records)
            turn = max(decided.asked.values(), default=-1) + 1
            more = {unit: turn + decision.turns.get(unit, 0) for unit in decision.asked if unit not in decided.asked}
            if foreign := more.keys() - {unit.name for unit in self._units[group] if unit.rule}:
                raise ModbenchError(f"the rule {name!r} asks for {min(foreign)!r}, which is no unit of {group}.")
            decided = Decided(
                rule=name,
                group=group,
                asked=decided.asked | more,
                ended=decision.ended or not more,
                why=decision.why,
                found=decision.found,
            )
        if decided is not before:
            decisions.write(self.folder.path, decided)
            self.decided[group] = decided
        if decided.ended:
            for unit in self._units[group]:
                self._records.pop(unit.name, None)
        self.cpu_s += time.process_time() - start
        return decided

    def _of(self, group: str, decided: Decided) -> dict[str, Record] | None:
        """Records of the units that run in any case and of those that were asked for; None until all have ended."""
        found = {}
        for unit in self._units[group]:
            if unit.rule and unit.name not in decided.asked:
                continue
            if unit.name not in self._records:
                file = self.folder.record(unit)
                if unit.name in self._open or not file.exists():
                    return None
                self._records[unit.name] = read_record(file, unit)
            found[unit.name] = self._records[unit.name]
        return found
