"""Titles of arms that are given when a run is shown: they take the place of those that it was made with."""

from __future__ import annotations

from collections.abc import Mapping

from modbench.harness.core.errors import UsageError
from modbench.harness.domain.case import Comparison
from modbench.harness.planning.arms import check_titles
from modbench.harness.planning.plan import Plan
from modbench.reports.wording import arm_named, name

ARM = "arm of --title"


def titled(plan: Plan, given: Mapping[str, str], lacking: dict[str, UsageError] | None = None) -> Plan:
    """Return the plan with titles for some of its arms, named as `arm_named` takes them; nothing else of it changes.

    `lacking` takes what is wrong with arms that the plan does not have; without it, that is raised.

    Raises:
        UsageError: if there is no such arm, or two would have the same name.
    """
    by_arm = dict[str, str]()
    for arm, title in given.items():
        try:
            by_arm[arm_named(plan.cases, arm, ARM).arm] = title
        except UsageError as error:
            if lacking is None:
                raise
            lacking[arm] = error
    known: dict[int, Comparison] = {}

    def of(comparison: Comparison) -> Comparison:
        """Units at one place share their comparison."""
        if id(comparison) not in known:
            arms = tuple(case.with_title(by_arm.get(case.arm, case.title)) for case in comparison.arms)
            known[id(comparison)] = comparison.model_copy(update={"arms": arms})
        return known[id(comparison)]

    made = plan.model_copy(
        update={
            "comparisons": tuple(map(of, plan.comparisons)),
            "units": tuple(unit.model_copy(update={"comparison": of(unit.comparison)}) for unit in plan.units),
        }
    )
    arms = {case.arm: case for case in made.cases}
    check_titles((name(case.with_title("")), case.title) for case in arms.values())
    return made
