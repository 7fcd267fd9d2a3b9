"""A run as read, and the types of the fields of run.json, besides its plan, and of finished.json.

The plan is checked: had a suite not made it, tables would silently leave out a unit that it lacks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, Strict

from modbench.harness.core.errors import UsageError, in_short
from modbench.harness.core.problems import Path_, Problem, shown
from modbench.harness.core.titles import short_name, slug
from modbench.harness.core.units import SECONDS, counted
from modbench.harness.domain.case import UnitOfWork
from modbench.harness.domain.records import SCHEMA, Record
from modbench.harness.machine.certificate import Certificate
from modbench.harness.planning.adaptive import AdaptiveRule
from modbench.harness.planning.plan import Plan
from modbench.harness.registry import catalogue
from modbench.harness.registry.user_routers import has_closed_form
from modbench.harness.results import layout
from modbench.harness.results.decisions import Decided, Result
from modbench.harness.results.reading import DamagedError, load, parse
from modbench.harness.results.sealed_records import Damaged
from modbench.harness.results.user_files import Origin

Text = Annotated[str, Strict()]
Whole = Annotated[int, Strict(), Field(ge=0)]
Duration = Annotated[float, Strict(), Field(ge=0, le=SECONDS.most)]


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
    """The fields of the environment that reports read, where they are there."""

    packages: dict[str, Text | None] = Field(default_factory=dict)
    cpu: Text = ""
    cores: Whole | None = None
    memory_bytes: Whole | None = None
    git: _Git = _Git(commit=None)
    gpu: _Gpus = _Gpus(devices=[])
    machine: Text | None = None
    certificate: Certificate | None = None


class RunFile(_Part):
    """run.json; `docs/run_folder.md` says what each key is. Older runs lack those with a default."""

    environment: _Machine
    plan: dict[str, Any]
    command: list[Text]
    started: Text
    launcher: Text
    launcher_options: tuple[Text, ...] = ()
    started_in: Text | None = None
    layout: Text = layout.TOGETHER
    token: Any = None
    code: dict[str, Text] = Field(default_factory=dict)
    included: tuple[Origin, ...] = ()


class _Finished(_Part):
    wall_s: Annotated[Duration, Field(gt=0)]
    timed_wall_s: Duration
    parent_cpu_s: Duration


class SeedSet(NamedTuple):
    """Seeds of a run whose records are pooled with those of others (`results/pooling.py`).

    Attributes:
        run: the folder.
        seeds: of the cases that are pooled.
    """

    run: Path
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class StoredRun:
    """A run folder as read.

    Attributes:
        path: the folder.
        plan: what was planned, without units that no rule asked for.
        environment: the machine and its software.
        command: the command line.
        started: start time, UTC, ISO 8601.
        launcher: name of the launcher.
        options: the launcher's own options.
        records: records of the finished units, in plan order.
        missing: names of the units without a record.
        damaged: records that cannot be believed; `records` holds failed outcomes in their place.
        finished: content of finished.json; None if the run was interrupted.
        undecided: units that a rule may yet ask for.
        decisions: what rules decided, by group.
        planned: every unit in run.json: those of the plan, and those that no rule asked for, or may yet.
        code: SHA-256 by name of the user's files that the command had loaded when the run began.
        started_in: the folder in which the command was started; None in a run that was packed.
        included: folders and packages with additions that it began with.
        schema: version of its format, as run.json says.
        sets: the seeds of each run that was pooled, itself among them, in the order in which they began; empty: nothing was.
    """

    path: Path
    plan: Plan
    environment: dict[str, Any]
    command: list[str]
    started: str
    launcher: str
    records: list[Record]
    missing: list[str]
    finished: dict[str, Any] | None = None
    undecided: tuple[UnitOfWork, ...] = ()
    decisions: Mapping[str, Decided] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    planned: tuple[UnitOfWork, ...] = ()
    code: Mapping[str, str] = field(default_factory=dict)
    started_in: str | None = None
    damaged: list[Damaged] = field(default_factory=list)
    included: tuple[Origin, ...] = ()
    schema: int = SCHEMA
    sets: tuple[SeedSet, ...] = ()

    @property
    def open_groups(self) -> list[str]:
        """Groups whose rule has not ended: their file in `decisions/` was lost, or the run was cut short."""
        names = [group.name for group in self.plan.groups]
        return [name for name in names if name not in self.decisions or not self.decisions[name].ended]

    @property
    def decided(self) -> bool:
        """Whether no rule may ask for more."""
        return not self.open_groups

    def found(self, kind: type[Result]) -> dict[str, Result]:
        """Results of one kind that rules left, by group; those of groups that have not ended are left out."""
        ended = ((name, each.found) for name, each in self.decisions.items() if each.ended)
        return {name: found for name, found in ended if isinstance(found, kind)}

    @property
    def incomplete(self) -> str | None:
        """What the run lacks, in one line; None if it lacks nothing."""
        if self.damaged:
            more = f" (and {len(self.damaged) - 1} more damaged)" if len(self.damaged) > 1 else ""
            return f"{self.path} is incomplete: {str(self.damaged[0].error).removesuffix('.')}{more}."
        if self.missing:
            verb = "has" if len(self.missing) == 1 else "have"
            return f"{self.path} is incomplete: {counted(len(self.missing), 'unit')} {verb} no record."
        if self.open_groups:
            return f"{self.path} is incomplete: {self.open_groups[0]} was not decided; all its units have records."
        return None


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


def read_finished(file: Path) -> dict[str, Any] | None:
    """Read finished.json; None if there is none.

    Raises:
        DamagedError: if it is damaged.
    """
    if not file.is_file():
        return None
    body = load(file)
    try:
        parse(_Finished, body, file)
    except DamagedError as error:
        raise DamagedError(file, f"{error.problem}. Remove the file to read the run as interrupted") from error
    return body


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
        for key in catalogue.with_sources(comparison.metrics):
            for case in comparison.arms if catalogue.metrics()[key].measured_by else ():
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
            wrong = (facts.own_router, facts.shipped and case.is_user_model) != (
                not has_closed_form(case.config.router),
                False,
            )
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
