"""run.json, with the plan of a run, and finished.json; and a run as read.

In run.json every case stands once, by its id, and what cases and jobs share stands once in a list: configurations, facts of
models, comparisons, protocols, facts of passes. Cases and jobs have the places in these lists. In full, 24,000 jobs would make
280 MB.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.errors import UnreadableError
from modbench.harness.core.immutable import Frozen
from modbench.harness.core.units import counted
from modbench.harness.domain.case import Case, CaseFacts, Comparison, Job, JobFacts, Protocol
from modbench.harness.domain.records import SCHEMA, Record
from modbench.harness.planning.plan import Plan
from modbench.harness.results.json_files import DIGEST, DamagedError, first_problem, load, parse, read_sealed
from modbench.harness.results.record_files import Damaged
from modbench.harness.results.rule_decisions import Decided, Result
from modbench.harness.results.user_files import Origin


class RunFile(Frozen):
    """run.json; `docs/run-folder.md` says what each key is."""

    schema_version: int
    layout: str
    started: str
    started_in: str | None = None
    command: list[str]
    launcher: str
    launcher_options: tuple[str, ...] = ()
    code: dict[str, str] = {}  # noqa: RUF012  # pydantic copies it
    included: tuple[Origin, ...] = ()
    environment: dict[str, Any]
    plan: dict[str, Any]


def read_run_file(file: Path) -> RunFile:
    """Read run.json.

    Raises:
        UsageError: if its schema is not the one that this modbench reads.
        DamagedError: if it is not what was written.
    """
    if not DIGEST.match(file.read_bytes()):
        _refuse_other(load(file), file)  # early schemas had no digest
    body = read_sealed(file)
    _refuse_other(body, file)
    return parse(RunFile, body, file)


def _refuse_other(body: Mapping[str, Any], file: Path) -> None:
    version = body.get("schema_version")
    if not isinstance(version, int) or version == SCHEMA:
        return
    match body:
        case {"environment": {"packages": {"modbench": str(wrote)}}}:
            by, reader = f"written by modbench {wrote} (schema {version})", f"modbench {wrote}"
        case _:
            by, reader = f"of schema {version}", "the modbench that wrote it"
    raise UnreadableError(
        f"{file.parent}: {by}; this one reads schema {SCHEMA}. Read it with {reader}, or measure again."
    )


def stored_plan(plan: Plan) -> dict[str, Any]:
    """A plan as run.json holds it."""
    configs, models, comparisons, protocols, facts = (_Once() for _ in range(5))
    for comparison in plan.comparisons:
        comparisons.number(comparison)
    jobs = [
        _dumped(job, "comparison", "protocol", "facts")
        | {
            "comparison": comparisons.number(job.comparison),
            "protocol": protocols.number(job.protocol),
            "facts": facts.number(job.facts),
        }
        for job in plan.jobs
    ]
    cases = {
        case.id: _dumped(case, "config") | {"config": configs.number(case.config), "facts": models.number(case.facts)}
        for comparison in comparisons.values
        for case in comparison.variants
    }
    return {
        **_dumped(plan, "comparisons", "jobs"),
        "configs": configs.dumped(),
        "models": models.dumped(),
        "cases": cases,
        "comparisons": [
            _dumped(each, "variants", "facts") | {"variants": [case.id for case in each.variants]}
            for each in comparisons.values
        ],
        "compared": len(plan.comparisons),
        "protocols": protocols.dumped(),
        "facts": facts.dumped(),
        "jobs": jobs,
    }


class _Once:
    """Values of a list in which each stands once."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._numbers: dict[Hashable, int] = {}

    def number(self, value: Hashable) -> int:
        """The place of a value in the list."""
        number = self._numbers.setdefault(value, len(self.values))
        if number == len(self.values):
            self.values.append(value)
        return number

    def dumped(self) -> list[dict[str, Any]]:
        """The list as JSON."""
        return [*map(_dumped, self.values)]


def _dumped(value: BaseModel, *without: str) -> dict[str, Any]:
    return value.model_dump(mode="json", exclude={*without})


def plan_of(stored: dict[str, Any], file: Path, only: str | None = None) -> Plan:
    """The plan of a run.

    Args:
        stored: as run.json holds it.
        file: run.json.
        only: name of the job that is wanted; None: all.

    Raises:
        DamagedError: if a part cannot be read, such as a configuration that this modbench does not have.
    """
    body = dict(stored)
    try:
        configs = [*map(ModelConfig.model_validate, body.pop("configs"))]
        models = [*map(CaseFacts.model_validate, body.pop("models"))]
        cases = {
            name: Case.model_validate(each | {"config": configs[each["config"]]}).with_facts(models[facts])
            for name, each in body.pop("cases").items()
            for facts in [each.pop("facts")]
        }
        comparisons = [
            Comparison.model_validate(each | {"variants": [cases[name] for name in each["variants"]]})
            for each in body["comparisons"]
        ]
        protocols = [*map(Protocol.model_validate, body.pop("protocols"))]
        facts = [*map(JobFacts.model_validate, body.pop("facts"))]
        body["jobs"] = [
            job
            | {
                "comparison": comparisons[job["comparison"]],
                "protocol": protocols[job["protocol"]],
                "facts": facts[job["facts"]],
            }
            for job in body["jobs"]
            if only in {None, job["name"]}
        ]
        body["comparisons"] = comparisons[: body.pop("compared")]
        return Plan.model_validate(body)
    except ValidationError as error:
        raise DamagedError(file, f"its plan: {first_problem(error)}") from error


class SeedSet(NamedTuple):
    """Seeds of a run whose records are pooled with those of others (`results/pooled_seeds.py`).

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
        plan: what was planned, without jobs that no rule asked for.
        environment: the machine and its software.
        command: the command line.
        started: start time, UTC, ISO 8601.
        launcher: name of the launcher.
        options: the launcher's own options.
        records: records of the finished jobs, in plan order.
        missing: names of the jobs without a record.
        damaged: records that are not what was written; `records` holds failed outcomes in their place.
        finished: content of finished.json; None if the run was interrupted.
        undecided: jobs that a rule may yet ask for.
        decisions: what rules decided, by group.
        planned: every job in run.json: those of the plan, and those that no rule asked for, or may yet.
        code: SHA-256 by name of the user's files that the command had loaded when the run began.
        started_in: the folder in which the command was started; None in a run that was packed.
        included: folders and packages with additions that it began with.
        absent: metrics, passes and rules that it used and this process does not have: their plug-ins are absent.
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
    undecided: tuple[Job, ...] = ()
    decisions: Mapping[str, Decided] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    planned: tuple[Job, ...] = ()
    code: Mapping[str, str] = field(default_factory=dict)
    started_in: str | None = None
    damaged: list[Damaged] = field(default_factory=list)
    included: tuple[Origin, ...] = ()
    absent: tuple[str, ...] = ()
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
            return f"{self.path} is incomplete: {counted(len(self.missing), 'job')} {verb} no record."
        if self.open_groups:
            return f"{self.path} is incomplete: {self.open_groups[0]} was not decided; all its jobs have records."
        return None


def read_finished(file: Path) -> dict[str, Any] | None:
    """Read finished.json; None if there is none.

    Raises:
        DamagedError: if it is damaged.
    """
    if not file.is_file():
        return None
    try:
        return read_sealed(file)
    except DamagedError as error:
        raise DamagedError(file, f"{error.problem}. Remove the file to read the run as interrupted") from error
