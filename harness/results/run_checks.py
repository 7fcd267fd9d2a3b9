"""Checks run.json and finished.json: the plan must be one that a suite can make, and the environment what reports read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Strict, TypeAdapter, ValidationError

from modbench.harness.core import catalogue
from modbench.harness.core.case import Comparison, UnitOfWork
from modbench.harness.core.units import SECONDS
from modbench.harness.machine.certificate import Certificate
from modbench.harness.planning.plan import Plan
from modbench.harness.results.reading import DamagedError, Path_, Problem, first_problem, load, shown

Text = Annotated[str, Strict()]
Whole = Annotated[int, Strict(), Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow")


class _Device(_Part):
    name: Text
    driver: Text | None


class _Gpus(_Part):
    devices: list[_Device]
    reason: Text | None = None


class _Git(_Part):
    commit: Text | None


class _Machine(_Part):
    """What reports read of the environment, where it is there."""

    packages: dict[str, Text | None] = Field(default_factory=dict)
    cpu: Text = ""
    cores: Whole | None = None
    memory_bytes: Whole | None = None
    git: _Git = _Git(commit=None)
    gpu: _Gpus = _Gpus(devices=[])
    machine: Text | None = None
    certificate: dict[str, Any] | None = None


class _Told(_Part):
    """What run.json says besides its plan."""

    environment: _Machine
    command: list[Text]
    started: Text
    launcher: Text


def check_run(body: dict[str, Any], plan: Plan) -> Iterator[Problem]:
    """Yield what is wrong with run.json.

    Args:
        body: its content.
        plan: the plan in it.
    """
    try:
        told = _Told.model_validate(body)
    except ValidationError as error:
        yield first_problem(error)
        return
    yield from _of_certificate(told.environment.certificate)
    yield from _of_comparisons(plan)
    yield from _of_units(plan)
    yield from _of_groups(plan)


def complete(environment: dict[str, Any], file: Path) -> None:
    """Require what a report cannot do without.

    Raises:
        DamagedError: if a part of the environment is missing.
    """
    for name in ("packages", "cpu", "git", "gpu"):
        if name not in environment:
            raise DamagedError(file, Problem(("environment", name), "missing"))
    if not environment["packages"].get("modbench"):
        raise DamagedError(file, Problem(("environment", "packages", "modbench"), "missing"))


def _of_certificate(known: dict[str, Any] | None) -> Iterator[Problem]:
    place: Path_ = ("environment", "certificate")
    if not known:
        return
    fields = {name: value for name, value in known.items() if name in Certificate.__dataclass_fields__}
    try:
        found = TypeAdapter(Certificate).validate_python(fields)
    except ValidationError as error:
        first = first_problem(error)
        yield Problem((*place, *first.place), first.what)
        return
    for name, value in vars(found).items():
        if isinstance(value, float | int) and value < 0:
            yield Problem((*place, name), f"{value:g} is below 0")


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
    names = Counter(unit.name for unit in plan.units)
    cases = {*plan.cases}
    launches: dict[str, set[int]] = {}
    timed: dict[str, Comparison] = {}
    made = set[tuple[str, str]]()
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
        if unit.series:
            launches.setdefault(unit.series, set()).add(unit.launch)
            alike = timed.setdefault(unit.series, unit.comparison)
            if unit.comparison is not alike and unit.comparison != alike:
                yield Problem(
                    (*place, "comparison"), f"differs from that of the other launches of {shown(unit.series)}"
                )
        if unit.launch == 0:
            made |= _made(unit)
    most = plan.suite.launches_limit
    for series, numbers in launches.items():
        if numbers not in (
            {0},
            {*range(most)},
        ):  # where something cannot be measured, there is one launch, which says so
            yield Problem(
                ("plan", "units"), f"{shown(series)} has launches {shown(sorted(numbers))}, not 0 to {most - 1}"
            )
    for i, comparison in enumerate(plan.comparisons):
        yield from _unmade(comparison, made, ("plan", "comparisons", i))


def _of_groups(plan: Plan) -> Iterator[Problem]:
    """A unit that names no group of the plan would never be asked for, and never be missing."""
    groups = {group.name: group.rule for group in plan.groups}
    for i, unit in enumerate(plan.units):
        if (unit.group and unit.group not in groups) or unit.rule not in {"", groups.get(unit.group)}:
            said = f"{shown(unit.rule)} of {shown(unit.group)}, which is none of the plan's groups"
            yield Problem(("plan", "units", i, "rule"), said)


def _made(unit: UnitOfWork) -> set[tuple[str, str]]:
    keys = [key for key in catalogue.needed(unit.comparison.metrics) if unit.makes(catalogue.metrics()[key])]
    return {(case.id, key) for case in unit.comparison.arms for key in keys}


def _unmade(comparison: Comparison, made: set[tuple[str, str]], place: Path_) -> Iterator[Problem]:
    """A metric that no unit measures would be left out of the tables."""
    for key in catalogue.needed(comparison.metrics):
        for case in comparison.arms if catalogue.metrics()[key].made_in else ():
            if (case.id, key) not in made:
                yield Problem((*place, "metrics"), f"no unit measures {key} of {case.id}")
                return


def read_finished(file: Path) -> dict[str, Any] | None:
    """Read finished.json; None if there is none.

    Raises:
        DamagedError: if it is damaged.
    """
    if not file.is_file():
        return None
    body = load(file)
    for name in ("wall_s", "timed_wall_s", "parent_cpu_s"):
        value = body.get(name)
        least = 0 if name != "wall_s" else 1e-9
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and least <= float(value or 0) <= SECONDS.most):
            found = f"{shown(value)} is no duration" if name in body else "missing"
            problem = str(Problem((name,), found))
            raise DamagedError(file, f"{problem}. Remove the file to read the run as interrupted")
    return body
