"""The run folder: run.json with plan and environment, one atomically written JSON file per unit, one per group of a rule."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from modbench.harness.core import printable
from modbench.harness.core.errors import UsageError, in_short
from modbench.harness.core.files import write_atomically
from modbench.harness.core.foreign import refuse_links
from modbench.harness.core.problems import Problem
from modbench.harness.domain.case import UnitOfWork
from modbench.harness.domain.notes import Notes, TimeNotes
from modbench.harness.domain.records import SCHEMA, Record
from modbench.harness.planning.plan import Plan, assigned
from modbench.harness.results import compact_plan, decisions, layout, lock, user_files
from modbench.harness.results.layout import run_file
from modbench.harness.results.reading import DamagedError, load, parse
from modbench.harness.results.record_checks import DuplicateLaunches
from modbench.harness.results.run_file import UNFIT, RunFile, StoredRun, check_plan, read_finished
from modbench.harness.results.sealed_records import Damaged, current, read_record, stand_in, write_record
from modbench.harness.results.upgrade import earlier_decisions

FINISHED = "finished.json"
# Columns of whole numbers that differ from launch to launch: their numbers are shared, the columns are not.
IN_RANDOM_ORDER = ("block", "position")


@dataclass(frozen=True)
class RunFolder:
    """A run's folder and the paths in it.

    Attributes:
        path: the folder.
        known_token: its token, for a process that shall not read run.json; None: it is read there.
    """

    path: Path
    known_token: str | None = field(default=None, kw_only=True)

    @functools.cached_property
    def token(self) -> str:
        """The random number that run.json and all records of the run hold; empty in a folder without a run.json."""
        if self.known_token is not None:
            return self.known_token
        file = self.path / "run.json"
        return str(load(file).get("token")) if file.is_file() else ""

    @property
    def units(self) -> Path:
        """Folder of the records of finished units."""
        return self.path / "units"

    @property
    def logs(self) -> Path:
        """Folder of what workers printed."""
        return self.path / "logs"

    def record(self, unit: UnitOfWork) -> Path:
        """Path of a unit's record."""
        return layout.file_of(self.path, "units", unit.name, ".json")

    def write_record(self, record: Record) -> None:
        """Write the record of a unit."""
        write_record(self.record(record.unit), record, self.token)

    def log(self, unit: UnitOfWork) -> Path:
        """Path of what the unit's process printed."""
        return layout.file_of(self.path, "logs", unit.name, ".log")

    def make(self) -> None:
        """Make the folders that every unit writes to, where they are missing."""
        layout.make(self.path, layout.of(self.path))

    def set_aside(self, damaged: Damaged) -> None:
        """Rename a damaged record to `NAME.json.damaged`, so that its unit can run again and nothing is lost."""
        file = damaged.error.file
        names = (file.with_suffix(f".json.damaged{number}") for number in ("", *range(2, 1000)))
        file.replace(next(name for name in names if not name.exists()))

    def write_run(
        self,
        plan: Plan,
        environment: dict[str, Any],
        command: list[str],
        started: str,
        launcher: str = "local",
        options: Sequence[str] = (),
    ) -> None:
        """Write run.json: the resolved plan, the environment in which it runs, and the user's own files that it uses."""
        shown = printable.masked_command(list(options))
        chosen = layout.chosen(len(plan.units))
        layout.make(self.path, chosen)
        body = {
            "schema_version": SCHEMA,
            "layout": chosen,
            "started": started,
            "started_in": printable.masked(str(Path.cwd())),
            "command": printable.masked_command(command),
            "launcher": launcher,
            "launcher_options": shown,
            "token": uuid4().hex,
            "code": user_files.loaded(plan.units, texts=True),
            "included": [each.model_dump() for each in user_files.sources()],
            "environment": printable.masked_data(environment),
            "plan": compact_plan.packed(plan) if chosen == layout.SPREAD else plan.model_dump(mode="json"),
        }
        write_atomically(self.path / "run.json", json.dumps(body, indent=1))

    def write_finished(self, body: dict[str, Any]) -> None:
        """Write finished.json: the duration of the run, and the parent's CPU time during timed units."""
        write_atomically(self.path / FINISHED, json.dumps(body, indent=1))


def create(out: str | None, suite_name: str) -> RunFolder:
    """Make a fresh run folder: `out`, or `runs/<suite>-<date>-<n>`.

    Raises:
        UsageError: if it cannot be written, or is not empty.
    """
    if out is None:
        path = layout.unused(suite_name)
    elif not out.strip():
        raise UsageError("--out '' names no folder. Name a new folder, or omit --out.")
    else:
        path = Path(out)
    if path.is_dir() and not _only_begun(path):
        what = "another run" if (path / "run.json").exists() else "other files"
        raise UsageError(f"--out {str(path)!r} already holds {what}; files are never overwritten. Name a new folder.")
    folder = RunFolder(path)
    try:
        folder.units.mkdir(parents=True, exist_ok=True)
        folder.logs.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise UsageError(
            f"--out {str(path)!r} cannot be written: {error.strerror}. Name a folder that you may write to."
        ) from error
    return folder


def create_empty(out: str | None, name: str) -> Path:
    """Make a fresh folder for files of another kind than a run's: `out`, or `runs/<name>-<date>-<n>`.

    Raises:
        UsageError: if it cannot be written, or is not empty.
    """
    made = create(out, name)
    for of_runs in (made.units, made.logs):
        of_runs.rmdir()
    return made.path


def remove_empty(folder: Path) -> None:
    """Remove a folder that `create_empty` made, and `runs` if it holds nothing else."""
    for each in (folder, folder.parent) if folder.parent.name == "runs" else (folder,):
        with contextlib.suppress(OSError):
            each.rmdir()


# What a run leaves that was ended before it wrote its plan.
BEGUN = {"units", "logs", lock.NAME, layout.MARK}


def _only_begun(path: Path) -> bool:
    """Whether a folder holds nothing, or nothing but what a run leaves that ended before its first unit."""
    for entry in path.iterdir():
        if entry.name not in BEGUN or entry.is_symlink():
            return False
        if entry.is_dir() and any(not each.is_dir() for each in entry.rglob("*")):
            return False
    return True


def read(folder: str, *, include: bool = False) -> StoredRun:
    """Read a run folder, complete or not.

    Args:
        folder: its path.
        include: whether to include the folders with additions that it names, whose code then runs; else it is data alone.

    Raises:
        UsageError: if it is not a run folder, or one of its files cannot be read.
    """
    path = Path(folder)
    file = run_file(folder)
    refuse_links(path)
    written = load(file)
    body = current(written, file)
    told = parse(RunFile, body, file)
    if told.layout != layout.of(path):
        raise DamagedError(
            file, f"its layout is not that of {layout.MARK}: one of the two is missing, or of another run"
        )
    token = str(told.token)
    if include:
        user_files.include_again(told.included)
    plan = parse(Plan, compact_plan.unpacked(body["plan"], file), file)
    user_files.check_known(plan, file, told.included)
    for problem in check_plan(plan):
        raise DamagedError(file, problem)
    if written["schema_version"] == SCHEMA:
        whole, decided, sealed_for = plan, decisions.read(path, plan), token
    else:
        try:
            units, groups = assigned(plan.suite, plan.units)
        except UNFIT as error:
            raise DamagedError(file, Problem(("plan", "units"), f"no rule fits them: {in_short(error)}")) from error
        whole, sealed_for = plan.model_copy(update={"units": units, "groups": groups}), None
        decided = decisions.read(path, whole, earlier_decisions)
    needed, undecided = decisions.required_units(whole, decided, lambda unit: RunFolder(path).record(unit).is_file())
    plan = whole.model_copy(update={"units": needed})
    records, missing, damaged, shared, launches = [], [], [], Interner(), DuplicateLaunches()
    for unit in plan.units:
        record_file = RunFolder(path).record(unit)
        try:
            record = read_record(record_file, unit, sealed_for) if record_file.exists() else None
            if record is not None:
                launches.check(record, record_file)
        except DamagedError as error:
            # Its traceback would keep all that was read of the file.
            error.__traceback__ = error.__cause__ = error.__context__ = None
            damaged.append(Damaged(unit.name, error))
            record = stand_in(unit, path, error)
        if record is None:
            missing.append(unit.name)
        else:
            records.append(shared.of(record, unit))
    return StoredRun(
        path,
        plan,
        records=records,
        missing=missing,
        damaged=damaged,
        finished=read_finished(path / FINISHED),
        undecided=undecided,
        decisions=decided,
        environment=body["environment"],
        command=told.command,
        started=told.started,
        launcher=told.launcher,
        options=told.launcher_options,
        planned=whole.units,
        code=told.code,
        started_in=told.started_in,
        included=told.included,
        schema=written["schema_version"],
    )


def has_checkpoint(path: Path) -> bool:
    """Whether a training run of the folder can go on from a checkpoint."""
    return any((path / "checkpoints").rglob("*.pt"))


class Interner:
    """Columns, numbers and notes that were read before, which the records of a run share. Nobody changes what was read.

    A report of 20,000 launches would not fit into 1 GiB otherwise.
    """

    def __init__(self) -> None:
        self._columns: dict[tuple[float, ...], list[float]] = {}
        self._numbers: dict[float, float] = {}
        self._notes: dict[Notes, Notes] = {}
        self._code: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
        self._given: dict[frozenset[str], set[str]] = {}

    def of(self, record: Record, unit: UnitOfWork) -> Record:
        """The record, with parts in it replaced by equal ones that were read before.

        Args:
            record: as read.
            unit: the planned unit, to which the record's is equal.
        """
        record.__dict__["unit"] = unit
        if record.code is not None:
            record.__dict__["code"] = self._code.setdefault(tuple(record.code.items()), record.code)
        for outcome in record.outcomes:
            # Which fields its file gave: 700 bytes for each outcome.
            given = outcome.__pydantic_fields_set__
            object.__setattr__(outcome, "__pydantic_fields_set__", self._given.setdefault(frozenset(given), given))
            for name, values in outcome.samples.items():
                if not values or not values[0].is_integer():
                    continue
                if name in IN_RANDOM_ORDER:
                    values[:] = [self._numbers.setdefault(value, value) for value in values]
                else:  # rounds, calls, inputs, and witnesses that saw nothing
                    outcome.samples[name] = self._columns.setdefault(tuple(values), values)
            if type(outcome.notes) is TimeNotes:
                outcome.__dict__["notes"] = self._notes.setdefault(outcome.notes, outcome.notes)
        return record
