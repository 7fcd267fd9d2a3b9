"""Computes the number of launches of each comparison, once, from a pilot (`stats/sample_size.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modbench.harness.core.errors import UsageError
from modbench.harness.domain.case import UnitOfWork
from modbench.harness.domain.evidence import LaunchCount
from modbench.harness.domain.records import Record
from modbench.harness.planning.adaptive import AdaptiveRule, Decision
from modbench.harness.results.launch_effects import clock, effect_in_launch
from modbench.harness.stats import sample_size

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
        either. With fewer launches than `sample_size.FEWEST`, there are no launches besides those of the pilot.
        """
        mde, (pilot, _) = suite.wanted_mde, suite.protocol_size
        assert mde is not None
        arms = _effects(list(records.values()))
        used = max(map(len, arms), default=0)
        arms = [values for values in arms if len(values) == used]
        told: dict[str, Any] = {
            "pilot": pilot,
            "mde": mde,
            "most": suite.launches_limit,
            "used": used,
            "arms": len(arms),
        }
        if used < sample_size.FEWEST:
            reason = f"{used} of {pilot} launches of the pilot have times of two arms: too few to compute a number"
            found = LaunchCount(sd=None, asked=None, made=pilot, reason=reason, **told)
        else:
            number = sample_size.number(arms, mde=mde, least=pilot, most=suite.launches_limit)
            found = LaunchCount(sd=number.sd, asked=number.asked, made=number.made, **told)
        asked = [unit.name for unit in units if pilot <= unit.launch < found.made]
        why = f"{found.made} launches"
        why += f" of {found.asked_in_words} asked for" * found.capped + (f": {found.reason}" if found.reason else "")
        return Decision(asked, ended=True, why=why, found=found)


def _effects(records: Sequence[Record]) -> list[list[float]]:
    """Log-effects of every arm against the anchor, launch by launch. Nothing is claimed about a twin, so it has none.

    Where the machine was disturbed and CPU time will decide, its spread counts.
    """
    arms, column = dict[str, list[float]](), clock(records)
    for record in records:
        anchor, *others = (case for case in record.unit.comparison.arms if not case.twin)
        for arm in others:
            if isinstance(effect := effect_in_launch(record, arm, anchor, column), float):
                arms.setdefault(arm.id, []).append(effect)
    return list(arms.values())


RULE = LaunchCountRule()
