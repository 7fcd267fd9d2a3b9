"""Decisions of rules while a run goes on: `decisions/GROUP.json`, one file for each group of jobs that a rule looks at.

A file is written whenever a rule requests more. It is believed: nothing is computed from the records again. A conditional job is
required if the file of its group names it. If the group has ended without the job, the job is not run, and is not missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from modbench.harness.core.immutable import Frozen
from modbench.harness.domain.case import Job
from modbench.harness.planning.plan import Plan
from modbench.harness.registry import catalogue
from modbench.harness.results import layout
from modbench.harness.results.json_files import DamagedError, parse, unsealed, write_sealed

FOLDER = "decisions"
Result = TypeVar("Result", bound=Frozen)


class Decided(Frozen):
    """The decision of a rule about a group so far.

    Attributes:
        rule: the rule.
        group: the group.
        asked: names of the jobs that it asked for, each with its turn: those of a later turn run after those of an earlier one.
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
    write_sealed(file, decided.model_dump_json(indent=1))


def read(run: Path, plan: Plan) -> dict[str, Decided]:
    """Return what was decided, by group.

    Args:
        run: the run folder.
        plan: the whole plan.

    Raises:
        DamagedError: if a file is damaged.
    """
    found = dict[str, Decided]()
    for group in plan.groups:
        file = file_of(run, group.name)
        if file.exists():
            try:
                found[group.name] = _decided(file, group.rule)
            except DamagedError as error:
                raise DamagedError(error.file, f"{error.problem}. Remove it: `modbench resume` decides anew") from error
    return found


def _decided(file: Path, rule: str) -> Decided:
    decided = parse(Decided, unsealed(file), file)
    kind = catalogue.load("adaptive_rules", rule).found if decided.found is not None else None
    return decided if kind is None else decided.model_copy(update={"found": parse(kind, decided.found, file)})


def required_jobs(
    plan: Plan, decisions: Mapping[str, Decided], recorded: Callable[[Job], bool]
) -> tuple[tuple[Job, ...], tuple[Job, ...]]:
    """Return the jobs that a run needs, in plan order, and those that a rule may yet ask for.

    Args:
        plan: the whole plan.
        decisions: what was decided, by group.
        recorded: whether a job has a record. If it has, a group that has not ended may ask for it again.

    Of a group that has not ended and lacks no record, the first job that it may ask for is required: the run is not complete.
    """
    asked = {name for decided in decisions.values() for name in decided.asked}
    going_on = {group.name for group in plan.groups if group.name not in decisions or not decisions[group.name].ended}
    open_ = [job for job in plan.jobs if job.group in going_on]
    with_record = {job.name for job in open_ if recorded(job)}
    required = {job.name for job in plan.jobs if not job.rule} | asked | with_record
    lacking = {job.group for job in open_ if job.name in required - with_record}
    for job in open_:
        if job.group not in lacking and job.name not in required:
            required.add(job.name)
            lacking.add(job.group)
    needed = tuple(job for job in plan.jobs if job.name in required)
    return needed, tuple(job for job in open_ if job.name not in required)
