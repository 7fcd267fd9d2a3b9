"""Decides the number of launches of each series when its pilot has ended, once, from the records on disk.

It works between two timed units: while one runs, the parent is idle.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from modbench.harness.core import catalogue
from modbench.harness.core.asking import Asked
from modbench.harness.core.case import UnitOfWork
from modbench.harness.planning.plan import Plan
from modbench.harness.results.launches import Decision
from modbench.harness.results.record_files import read_record
from modbench.harness.results.records import Outcome, Record
from modbench.harness.results.run_folder import RunFolder
from modbench.harness.stats import effects, launch_number


class Pilots:
    """The pilots of a plan.

    Args:
        plan: the whole plan, of a resumed run too.
        folder: holds records and earlier decisions.
        units: those that this run measures; until one has ended, what the folder holds of it is old, or not complete.

    Attributes:
        cpu_s: CPU time spent on decisions.
    """

    def __init__(self, plan: Plan, folder: RunFolder, units: Iterable[UnitOfWork] = ()) -> None:
        self.plan, self.folder, self.cpu_s = plan, folder, 0.0
        self.series = plan.piloted()
        self._open = {unit.name for unit in units}

    def ended(self, unit: UnitOfWork) -> None:
        """A unit has ended, and its record is complete."""
        self._open.discard(unit.name)

    def later(self, unit: UnitOfWork) -> bool:
        """Whether the unit runs only if its pilot asks for it."""
        return self.plan.after_pilot(unit)

    def group(self, unit: UnitOfWork) -> str:
        """The series of a unit whose number a pilot decides; empty for another."""
        return unit.series if unit.series in self.series else ""

    def asked(self, group: str) -> Asked | None:
        """Return the launches of a series that are made; None until its pilot has ended."""
        made = self.number(group)
        if made is None:
            return None
        return Asked({unit.name: 0 for unit in self.series[group] if unit.launch < made}, last=True)

    def number(self, series: str) -> int | None:
        """Return how many launches a series has; None until its pilot has ended.

        The first call after that decides; later ones, of a resumed run too, read what was decided.
        """
        decided = self.folder.decision(series)
        if decided is None:
            files = {self.folder.record(unit): unit for unit in self.series[series] if not self.later(unit)}
            if not all(file.exists() and unit.name not in self._open for file, unit in files.items()):
                return None
            start = time.process_time()
            decided = decide(series, [read_record(*each) for each in files.items()], self.plan)
            self.folder.write_decision(decided)
            self.cpu_s += time.process_time() - start
        return decided.made


def decide(series: str, records: Sequence[Record], plan: Plan) -> Decision:
    """Compute the number of launches from the records of a pilot.

    A launch that failed has no times and is left out, and so is an arm that failed in some launch, since it gets no number in
    the report either. If fewer than `launch_number.FEWEST` launches have times, no number can be computed: the pilot's
    launches are all that is made.
    """
    mde, most, (pilot, _) = plan.suite.wanted_mde, plan.suite.launches_limit, plan.suite.protocol_size
    assert mde is not None
    arms = _effects(records)
    used = max(map(len, arms), default=0)
    told: dict[str, Any] = {"series": series, "pilot": pilot, "mde": mde, "most": most}
    arms = [values for values in arms if len(values) == used]
    if used < launch_number.FEWEST:
        reason = f"{used} of {pilot} launches of the pilot have times of two arms: too few to compute a number"
        return Decision(used=used, arms=len(arms), sd=None, asked=None, made=pilot, reason=reason, **told)
    found = launch_number.number(arms, mde=mde, least=pilot, most=most)
    return Decision(used=used, arms=len(arms), sd=found.sd, asked=found.asked, made=found.made, **told)


def _effects(records: Iterable[Record]) -> list[list[float]]:
    """Log-effects of every arm against the anchor, launch by launch, of the first metric that was measured."""
    arms: dict[str, list[float]] = {}
    for record in records:
        column = catalogue.passes()[record.unit.made_in].column
        anchor, *others = (
            case.id for case in record.unit.comparison.arms if not case.twin
        )  # nothing is claimed of a twin
        first = next((outcome.metric for outcome in record.outcomes), None)
        good = {o.case: o for o in record.outcomes if o.status == "ok" and o.metric == first}
        for arm in others:
            found = _effect(good.get(arm), good.get(anchor), column)
            if found is not None:
                arms.setdefault(arm, []).append(found)
    return list(arms.values())


def _effect(arm: Outcome | None, anchor: Outcome | None, column: str) -> float | None:
    if arm is None or anchor is None:
        return None
    found = effects.pair_in_launch(arm.samples, None, anchor.samples, column)
    return None if found is None else found.effect
