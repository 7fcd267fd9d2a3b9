"""Decisions of rules while a run goes on: `decisions/GROUP.json`, one file for each group of units that a rule looks at.

A file is written whenever a rule requests more. It is believed: nothing is computed from the records again. A conditional unit is
required if the file of its group names it. If the group has ended without the unit, the unit is not run, and is not missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from modbench.harness.core.files import write_atomically
from modbench.harness.core.frozen import Frozen
from modbench.harness.core.problems import Problem, shown
from modbench.harness.domain.case import UnitOfWork
from modbench.harness.planning.plan import Plan
from modbench.harness.registry import catalogue
from modbench.harness.results import layout
from modbench.harness.results.reading import DamagedError, load, parse, retyped

FOLDER = "decisions"
Result = TypeVar("Result", bound=Frozen)
# By group the file and its content.
Stored: TypeAlias = Mapping[str, tuple[Path, dict[str, Any]]]


class Decided(Frozen):
    """The decision of a rule about a group so far.

    Attributes:
        rule: the rule.
        group: the group.
        asked: names of the units that it asked for, each with its turn: those of a later turn run after those of an earlier one.
        ended: whether it asks for nothing more.
        why: what it asked for and why, in a few words.
        found: its result, of the rule's own type; None if it has none.
    """

    rule: str
    group: str
    asked: dict[str, int] = {}  # noqa: RUF012  # pydantic copies it
    ended: bool = False
    why: str = ""
    found: Any = None


def file_of(run: Path, group: str) -> Path:
    """The file of a group."""
    return layout.file_of(run, FOLDER, group, ".json")


def write(run: Path, decided: Decided) -> None:
    """Write what was decided about a group."""
    file = file_of(run, decided.group)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, decided.model_dump_json(indent=1))


def stored(run: Path, plan: Plan) -> Stored:
    """Return the files of a run's groups, and their content.

    Raises:
        DamagedError: if one is damaged.
    """
    files = {group.name: file_of(run, group.name) for group in plan.groups}
    return {group: (file, load(file)) for group, file in files.items() if file.exists()}


def read(run: Path, plan: Plan, bodies_of: Callable[[Path, Plan], Stored] = stored) -> dict[str, Decided]:
    """Return what was decided, by group.

    Args:
        run: the run folder.
        plan: the whole plan.
        bodies_of: returns the files and their content.

    Raises:
        DamagedError: if a file is damaged, or names what is not of its group.
    """
    try:
        bodies, found = bodies_of(run, plan), dict[str, Decided]()
        for rule in {group.rule for group in plan.groups} if bodies else ():
            for group, units in plan.members(rule).items():
                if group in bodies:
                    found[group] = _decided(plan, rule, group, units, *bodies[group])
    except DamagedError as error:
        raise DamagedError(error.file, f"{error.problem}. Remove it: `modbench resume` decides anew") from error
    return found


def _decided(
    plan: Plan, name: str, group: str, units: Sequence[UnitOfWork], file: Path, body: dict[str, Any]
) -> Decided:
    rule = catalogue.load("rules", name)
    decided = parse(Decided, body, file)
    if decided.found is not None and rule.found is not None:
        decided = decided.model_copy(update={"found": parse(rule.found, body["found"], file)})
    for problem in (*_foreign(decided, name, group, units), *retyped(body, decided, ())):
        raise DamagedError(file, problem)
    for problem in rule.foreign(plan.suite, units, decided.found) if rule.found and decided.found is not None else ():
        raise DamagedError(file, problem._replace(place=("found", *problem.place)))
    return decided


def _foreign(decided: Decided, rule: str, group: str, units: Sequence[UnitOfWork]) -> Iterator[Problem]:
    if (decided.rule, decided.group) != (rule, group):
        yield Problem(("group",), f"{shown(decided.group)} by {shown(decided.rule)}, where {group} by {rule} belongs")
    for name in decided.asked.keys() - {unit.name for unit in units if unit.rule}:
        yield Problem(("asked",), f"{shown(name)} is no unit that it may ask for")


def required_units(
    plan: Plan, decisions: Mapping[str, Decided], recorded: Callable[[UnitOfWork], bool]
) -> tuple[tuple[UnitOfWork, ...], tuple[UnitOfWork, ...]]:
    """Return the units that a run needs, in plan order, and those that a rule may yet ask for.

    Args:
        plan: the whole plan.
        decisions: what was decided, by group.
        recorded: whether a unit has a record. If it has, a group that has not ended may ask for it again.

    Of a group that has not ended and lacks no record, the first unit that it may ask for is required: the run is not complete.
    """
    asked = {name for decided in decisions.values() for name in decided.asked}
    going_on = {group.name for group in plan.groups if group.name not in decisions or not decisions[group.name].ended}
    open_ = [unit for unit in plan.units if unit.group in going_on]
    with_record = {unit.name for unit in open_ if recorded(unit)}
    required = {unit.name for unit in plan.units if not unit.rule} | asked | with_record
    lacking = {unit.group for unit in open_ if unit.name in required - with_record}
    for unit in open_:
        if unit.group not in lacking and unit.name not in required:
            required.add(unit.name)
            lacking.add(unit.group)
    needed = tuple(unit for unit in plan.units if unit.name in required)
    return needed, tuple(unit for unit in open_ if unit.name not in required)
