"""Computes the number of launches of each comparison, once, from a pilot (`stats/power.py`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modbench.harness.core.errors import UsageError
from modbench.harness.domain.case import UnitOfWork
from modbench.harness.domain.evidence import LaunchCount
from modbench.harness.domain.records import Record
from modbench.harness.planning.adaptive import AdaptiveRule, Decision
from modbench.harness.results.launch_effects import samples_in_launch
from modbench.harness.stats import paired, power
from modbench.harness.stats.contrast import Rule
from modbench.harness.stats.paired import LaunchSamples

if TYPE_CHECKING:
    from modbench.harness.domain.suite import Suite


class LaunchCountRule(AdaptiveRule[LaunchCount]):
    """Asks for the launches after the pilot. A number that was computed stands, whatever is measured again."""

    found = LaunchCount

    def groups(self, suite: Suite, units: Sequence[UnitOfWork]) -> dict[str, list[UnitOfWork]]:
        """Return the launches of each series."""
        found: dict[str, list[UnitOfWork]] = {}
        for unit in units if suite.two_stage else ():
            if unit.series:
                found.setdefault(unit.series, []).append(unit)
        # Where something cannot be measured, there is one launch, which says so.
        return {series: launches for series, launches in found.items() if len(launches) > 1}

    def is_conditional(self, suite: Suite, unit: UnitOfWork) -> bool:
        """Whether the launch is none of the pilot."""
        return unit.launch >= suite.protocol_size[0]

    def check(self, suite: Suite, units: Sequence[UnitOfWork], select: str | None) -> None:  # noqa: ARG002  # as every rule
        """Check that a pilot decides the number of launches."""
        if not (suite.two_stage and any(not unit.rule for unit in units)):
            raise UsageError(f"{suite.name}: no pilot decides its number of launches.")

    def stands(self, found: LaunchCount) -> bool:
        """Whether there is a number: a pilot without times asks again."""
        return found.asked is not None

    def decide(self, suite: Suite, units: Sequence[UnitOfWork], records: Mapping[str, Record]) -> Decision:
        """Compute the number of launches from the records of the pilot.

        A launch that failed has no times and is left out. So is an arm that failed in some launch: it has no number in the report
        either. With fewer launches than `power.FEWEST_OF_PILOT`, there are no launches besides those of the pilot.
        """
        mde, (pilot, _) = suite.wanted_mde, suite.protocol_size
        assert mde is not None
        arms = _effects(list(records.values()), suite.margin)
        used = max(map(len, arms), default=0)
        arms = [values for values in arms if len(values) == used]
        told: dict[str, Any] = {
            "pilot": pilot,
            "mde": mde,
            "most": suite.launches_limit,
            "used": used,
            "arms": len(arms),
        }
        if used < power.FEWEST_OF_PILOT:
            reason = f"{used} of {pilot} launches of the pilot have times of two arms: too few to compute a number"
            found = LaunchCount(sd=None, asked=None, made=pilot, reason=reason, **told)
        else:
            sd = power.spread(arms)
            number = power.fewest(power.above_0, math.log1p(mde), sd) or power.MOST
            made = max(pilot, min(number, suite.launches_limit))
            found = LaunchCount(sd=sd, asked=number, made=made, **told)
        asked = [unit.name for unit in units if pilot <= unit.launch < found.made]
        why = f"{found.made} launches"
        why += f" of {found.asked_in_words} asked for" * found.capped + (f": {found.reason}" if found.reason else "")
        return Decision(asked, ended=True, why=why, found=found)


def _effects(records: Sequence[Record], margin: float) -> list[list[float]]:
    """Log-effects of every arm against the anchor, launch by launch, by the clock that would decide.

    Nothing is claimed about a twin, so it has none.
    """
    found = list[list[float]]()
    arms = {case.id: case for record in records for case in record.unit.comparison.arms[1:] if not case.twin}
    for arm in arms.values():
        made = (samples_in_launch(each, arm, each.unit.comparison.arms[0]) for each in records)
        launches = [each for each in made if isinstance(each, LaunchSamples)]
        if launches:
            column, one_thread = records[0].unit.facts.column, arm.place.one_thread
            pair = paired.numbers(launches, column=column, one_thread=one_thread, averaged=False)
            found.append(pair.effects(by_cpu=pair.contrast(Rule("time", margin)).by_cpu))
    return found


RULE = LaunchCountRule()
