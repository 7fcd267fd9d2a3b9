"""Checks the plan in run.json: it must be one that a suite can make. What it lacks would be left out of tables without a word."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from modbench.harness.core import catalogue
from modbench.harness.core.case import Comparison, UnitOfWork
from modbench.harness.planning.plan import Plan
from modbench.harness.results.reading import Path_, Problem, shown


def check_plan(plan: Plan) -> Iterator[Problem]:
    """Yield what is wrong with a plan."""
    yield from _of_comparisons(plan)
    yield from _of_units(plan)
    yield from _of_series(plan)
    yield from _of_groups(plan)


def _of_comparisons(plan: Plan) -> Iterator[Problem]:
    if not plan.comparisons:
        yield Problem(("plan", "comparisons"), "none")
    for i, comparison in enumerate(plan.comparisons):
        place: Path_ = ("plan", "comparisons", i)
        for name in ("arms", "metrics"):
            if not getattr(comparison, name):
                yield Problem((*place, name), "none")
                return
        for j, case in enumerate(comparison.arms):
            if case.place != comparison.place:
                yield Problem((*place, "arms", j, "place"), "another place than that of the other arms")
            if min(case.place.seq_len, case.place.batch_size, case.place.threads) < 1:
                yield Problem((*place, "arms", j, "place"), "a size below 1")
        if len({case.arm for case in comparison.arms}) < len(comparison.arms):
            yield Problem((*place, "arms"), "one arm is there twice")


def _of_units(plan: Plan) -> Iterator[Problem]:
    names, cases, made = Counter(unit.name for unit in plan.units), {*plan.cases}, set[tuple[str, str]]()
    for i, unit in enumerate(plan.units):
        place: Path_ = ("plan", "units", i)
        if names[unit.name] > 1 or not unit.name:
            yield Problem((*place, "name"), f"{shown(unit.name)} is there {names[unit.name]} times")
        if not unit.comparison.arms:
            yield Problem((*place, "comparison", "arms"), "none")
            return
        if not {case.original for case in unit.comparison.arms} <= cases:
            yield Problem((*place, "comparison", "arms"), "a case that is in no comparison of the plan")
        if not (math.isfinite(unit.flops) and unit.flops >= 0):
            yield Problem((*place, "flops"), f"{unit.flops:g} is not a number of FLOPs")
        if not _facts_hold(unit):
            yield Problem((*place, "facts"), "not those of its pass and metrics")
        made |= {(case.id, key) for case in unit.comparison.arms for key, _ in unit.facts.makes if unit.launch == 0}
    for i, comparison in enumerate(plan.comparisons):  # a metric that no unit measures would be left out of the tables
        for key in catalogue.needed(comparison.metrics):
            for case in comparison.arms if catalogue.metrics()[key].made_in else ():
                if (case.id, key) not in made:
                    yield Problem(("plan", "comparisons", i, "metrics"), f"no unit measures {key} of {case.id}")
                    return


def _of_series(plan: Plan) -> Iterator[Problem]:
    """All launches of a series are there, and time the same; where something cannot be measured there is one, which says so."""
    launches: dict[str, set[int]] = {}
    timed: dict[str, Comparison] = {}
    most = plan.suite.launches_limit
    for i, unit in enumerate(plan.units):
        if not unit.series:
            continue
        launches.setdefault(unit.series, set()).add(unit.launch)
        alike = timed.setdefault(unit.series, unit.comparison)
        if unit.comparison is not alike and unit.comparison != alike:
            place: Path_ = ("plan", "units", i, "comparison")
            yield Problem(place, f"differs from that of the other launches of {shown(unit.series)}")
    for series, numbers in launches.items():
        if numbers not in ({0}, {*range(most)}):
            said = f"{shown(series)} has launches {shown(sorted(numbers))}, not 0 to {most - 1}"
            yield Problem(("plan", "units"), said)


def _facts_hold(unit: UnitOfWork) -> bool:
    """Whether what is stored of a unit's pass is so: it would set variables of processes, and name what is read of records."""
    told, known = unit.facts, catalogue.facts_of_unit(unit.made_in, unit.workload, unit.comparison.metrics)
    return (
        known is not None
        and {*told.makes} <= {*known.makes}
        and all(getattr(told, name) == getattr(known, name) for name in ("samples", "column", "environment"))
    )


def _of_groups(plan: Plan) -> Iterator[Problem]:
    """A unit that names no group of the plan would never be asked for, and never be missing."""
    groups = {group.name: group.rule for group in plan.groups}
    for i, unit in enumerate(plan.units):
        if (unit.group and unit.group not in groups) or unit.rule not in {"", groups.get(unit.group)}:
            said = f"{shown(unit.rule)} of {shown(unit.group)}, which is none of the plan's groups"
            yield Problem(("plan", "units", i, "rule"), said)
