"""Checks that a suite can have made the plan in run.json: tables would silently leave out a unit that it lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from modbench.harness.core.errors import UsageError, in_short
from modbench.harness.core.ids import short_name, slug
from modbench.harness.core.problems import Path_, Problem, shown
from modbench.harness.domain.case import UnitOfWork
from modbench.harness.planning.adaptive import AdaptiveRule
from modbench.harness.planning.plan import Plan
from modbench.harness.registry import catalogue
from modbench.harness.registry.own_routers import has_closed_form

# Errors of a rule whose plan was made for another.
UNFIT = (UsageError, ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)
# Facts of a unit that say what its numbers are and beside what it may run. The others say how long it may take.
SAME = (
    *("phase", "samples", "column", "alone", "timed", "cold", "repeated", "trains", "confirms"),
    *("about_machine", "predicts", "environment"),
)


def check_plan(plan: Plan) -> Iterator[Problem]:
    """Yield what is wrong with a plan."""
    yield from _of_comparisons(plan)
    yield from _of_units(plan)
    yield from _of_series(plan)
    yield from _of_groups(plan)
    yield from _of_facts(plan)


def _of_comparisons(plan: Plan) -> Iterator[Problem]:
    for i, comparison in enumerate(plan.comparisons):
        place: Path_ = ("plan", "comparisons", i)
        if not comparison.metrics:
            yield Problem((*place, "metrics"), "none")
        for j, case in enumerate(comparison.arms):
            if case.place != comparison.place:
                yield Problem((*place, "arms", j, "place"), "another place than that of the other arms")
        if len({case.arm for case in comparison.arms}) < len(comparison.arms):
            yield Problem((*place, "arms"), "one arm is there twice")


def _of_units(plan: Plan) -> Iterator[Problem]:
    names, cases, made = Counter(unit.name for unit in plan.units), {*plan.cases}, set[tuple[str, str]]()
    for i, unit in enumerate(plan.units):
        place: Path_ = ("plan", "units", i)
        if names[unit.name] > 1 or not unit.name:
            yield Problem((*place, "name"), f"{shown(unit.name)} is there {names[unit.name]} times")
        if not {case.original for case in unit.comparison.arms} <= cases:
            yield Problem((*place, "comparison", "arms"), "a case that is in no comparison of the plan")
        made |= {(case.id, key) for case in unit.comparison.arms for key, _ in unit.facts.makes if unit.launch == 0}
    for i, comparison in enumerate(plan.comparisons):  # a metric that no unit measures would be left out of the tables
        for key in catalogue.needed(comparison.metrics):
            for case in comparison.arms if catalogue.metrics()[key].made_in else ():
                if (case.id, key) not in made:
                    yield Problem(("plan", "comparisons", i, "metrics"), f"no unit measures {key} of {case.id}")
                    return


def _of_series(plan: Plan) -> Iterator[Problem]:
    """Check that all launches of a series are there, and time the same. A series that cannot be measured has one launch."""
    series_of: dict[str, list[UnitOfWork]] = {}
    most = plan.suite.launches_limit
    for i, unit in enumerate(plan.units):
        if unit.series:
            launches = series_of.setdefault(unit.series, [])
            launches.append(unit)
            if unit.comparison != launches[0].comparison:
                said = f"differs from that of the other launches of {shown(unit.series)}"
                yield Problem(("plan", "units", i, "comparison"), said)
    for series, launches in series_of.items():
        numbers = {unit.launch for unit in launches}
        if numbers not in ({0}, {*range(most)}):
            said = f"{shown(series)} has launches {shown(sorted(numbers))}, not 0 to {most - 1}"
            yield Problem(("plan", "units"), said)


def _of_facts(plan: Plan) -> Iterator[Problem]:
    """Check the facts of passes and models against the catalogue: they set variables of processes, and name columns."""
    for i, unit in enumerate(plan.units):
        told = unit.facts
        try:
            known = catalogue.facts_of_unit(unit.made_in, unit.workload, unit.comparison.metrics)
        except KeyError:
            known = None
        if (
            known is None
            or not {*told.makes} <= {*known.makes}
            or any(getattr(told, n) != getattr(known, n) for n in SAME)
        ):
            yield Problem(("plan", "units", i, "facts"), "not those of its pass and metrics")
        if told.most <= 0 or told.besides_s < 0:
            yield Problem(("plan", "units", i, "facts"), "no time is left to it")
    every = {id(each): each for each in (*plan.comparisons, *(unit.comparison for unit in plan.units))}
    for comparison in every.values():
        for case, facts in zip(comparison.arms, comparison.facts, strict=True):
            wrong = (facts.own_router, facts.shipped and case.own) != (not has_closed_form(case.config.router), False)
            if wrong or facts.short != short_name(case.model):
                yield Problem(("plan", "comparisons"), f"facts of {shown(case.model)} that are not so")


def _of_groups(plan: Plan) -> Iterator[Problem]:
    """Check that units name a group of the plan, without which no rule requests them, and that its rule can decide about it."""
    groups = {group.name: group.rule for group in plan.groups}
    for i, unit in enumerate(plan.units):
        if (unit.group and unit.group not in groups) or unit.rule not in {"", groups.get(unit.group)}:
            said = f"{shown(unit.rule)} of {shown(unit.group)}, which is none of the plan's groups"
            yield Problem(("plan", "units", i, "rule"), said)
    if len(groups) < len(plan.groups):
        yield Problem(("plan", "groups"), "a name is there twice")
    for name in set(groups.values()):
        rule = catalogue.load("rules", name)
        if catalogue.is_shipped("rules", name):  # a user's own may have been edited since
            yield from _foreign_members(plan, name, rule)
        for group, units in plan.members(name).items():
            try:
                rule.check(plan.suite, units, None)
                rule.shares(plan.suite, units)
            except UNFIT as error:
                said = f"{shown(group)} is none that {name} can decide about: {type(error).__name__} {in_short(error)}"
                yield Problem(("plan", "groups"), said)


def _foreign_members(plan: Plan, name: str, rule: AdaptiveRule[Any]) -> Iterator[Problem]:
    """Groups hold the units that their rule puts there, and it may ask for those that it says: it reads no other records."""
    try:
        made = {
            slug(called): [unit.name for unit in units] for called, units in rule.groups(plan.suite, plan.units).items()
        }
    except UNFIT as error:
        yield Problem(("plan", "groups"), f"{name} can make none: {type(error).__name__} {in_short(error)}")
        return
    for group, units in plan.members(name).items():
        if [unit.name for unit in units] != made.get(group):
            yield Problem(("plan", "groups"), f"{shown(group)} does not hold the units that {name} puts there")
            return
        for unit in units:
            if bool(unit.rule) != rule.is_conditional(plan.suite, unit):
                yield Problem(("plan", "groups"), f"{shown(unit.name)} is not asked for as {name} does")
                return
