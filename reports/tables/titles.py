"""Titles of arms that are given when a run is shown: they take the place of those that it was made with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import get_args

from modbench.harness.core.errors import UsageError
from modbench.harness.core.titles import short_name
from modbench.harness.domain.case import Comparison, Device
from modbench.harness.domain.suite import Suite
from modbench.harness.planning.arms import ResolvedArm, check_titles
from modbench.harness.planning.comparisons import Expander, keys_of, sized
from modbench.harness.planning.dense_ladder import QUANTITIES
from modbench.harness.planning.matching import case_of, placeless
from modbench.harness.planning.plan import Plan
from modbench.harness.planning.select import compile_expression
from modbench.reports.wording import arm_named, model_name, name

ARM = "arm of --title"


def check_given(suite: Suite, arms: Sequence[ResolvedArm], given: Mapping[str, str], select: str | None = None) -> None:
    """Refuse titles before anything is solved or counted, as far as names are known then.

    Args:
        suite: the suite.
        arms: its arms; those of the dense ladder have no name yet.
        given: titles by what names their arms.
        select: the `-k` expression that chooses cases.

    Raises:
        UsageError: if there is no such arm, several could be meant, or two would have the same name.
    """
    if suite.isoflop is not None:
        arms = [arm for size in suite.isoflop.sizes for arm in sized(arms, size)]
    elif select and not keys_of(suite).tasks:
        arms = _selected(suite, arms, select)
    named = [placeless(arm) for arm in arms if not arm.rung]
    titles = {placeless(arm).arm: arm.title for arm in arms if not arm.rung}
    for text, title in given.items():
        try:
            titles[arm_named(named, text, ARM).arm] = title
        except UsageError:
            # Of several arms of a model none is named by it, whatever rungs are called.
            several = sum(text.casefold() in _models(arm) and not arm.rung for arm in arms) > 1
            if several or not any(_may_name(arm, text) for arm in arms if arm.rung):
                raise
    check_titles((name(case), titles[case.arm]) for case in named)


def _selected(suite: Suite, arms: Sequence[ResolvedArm], select: str) -> Sequence[ResolvedArm]:
    """The arms that an expression leaves, on whatever device they run: the anchor, those of a case that it chooses, all rungs."""
    matches = compile_expression(select)
    places = [place for device in get_args(Device) for place in Expander(suite, device).places()]
    left = {placeless(arm) for arm in arms if not arm.rung and any(matches(case_of(arm, at).id) for at in places)}
    # Where none is left, the expression may choose rungs, or nothing, which the plan says.
    return [arm for arm in arms if arm is arms[0] or arm.rung or placeless(arm) in left] if left else arms


def _models(arm: ResolvedArm) -> tuple[str, str]:
    """What an arm's model is called, in small letters."""
    return short_name(arm.model).casefold(), model_name(arm.model).casefold()


def _may_name(rung: ResolvedArm, text: str) -> bool:
    """Whether a text could be the name of an arm whose share is not known yet: `dense 56 %`, `f0.56`."""
    models = "|".join(map(re.escape, _models(rung)))
    return re.match(rf"({models}|{QUANTITIES[rung.quantity].letter}[0-9])", text, re.IGNORECASE) is not None


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
