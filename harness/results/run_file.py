"""A run as read, and the types of the fields of run.json, besides its plan, and of finished.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Strict

from modbench.harness.core.problems import Problem
from modbench.harness.core.units import SECONDS, counted
from modbench.harness.domain.case import UnitOfWork
from modbench.harness.domain.records import SCHEMA, Record
from modbench.harness.machine.certificate import Certificate
from modbench.harness.planning.plan import Plan
from modbench.harness.results import layout
from modbench.harness.results.decisions import Decided, Result
from modbench.harness.results.extension_sources import Origin
from modbench.harness.results.own_files import OwnFile
from modbench.harness.results.reading import DamagedError, load, parse
from modbench.harness.results.record_files import Damaged

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
    own_files: tuple[OwnFile, ...] = ()
    included: tuple[Origin, ...] = ()


class _Finished(_Part):
    wall_s: Annotated[Duration, Field(gt=0)]
    timed_wall_s: Duration
    parent_cpu_s: Duration


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
        own_files: the user's files that it began with, as run.json says.
        started_in: the folder in which the command was started; None in a run that was packed.
        token: under which the user who began it is remembered, as run.json says.
        included: folders and packages with additions that it began with, as run.json says.
        schema: version of its format, as run.json says.
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
    own_files: tuple[OwnFile, ...] = ()
    started_in: str | None = None
    token: str | None = None
    damaged: list[Damaged] = field(default_factory=list)
    included: tuple[Origin, ...] = ()
    schema: int = SCHEMA

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
