"""Writes and reads the records of jobs, and makes the stand-in for one that is damaged.

Whether numbers can have been measured is checked once, before a record is written (`record_checks.py`). After that the digest of
its file shows that nothing changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from modbench.harness.domain.case import Job
from modbench.harness.domain.records import Beside, Missing, Record
from modbench.harness.registry import catalogue
from modbench.harness.results.json_files import DamagedError, first_problem, read_sealed, unsealed, write_sealed
from modbench.harness.results.measured_or_missing import missing


@dataclass(frozen=True)
class Damaged:
    """A record that is not what was written.

    Attributes:
        job: name of its job.
        error: what is wrong, with the file.
    """

    job: str
    error: DamagedError


def write_record(file: Path, record: Record) -> None:
    """Write a record into its file."""
    write_sealed(file, record.model_dump_json())


def read_record(file: Path, job: Job) -> Record:
    """Read the record of a job.

    Raises:
        DamagedError: if it is not what was written, or is that of another job.
    """
    return as_record(unsealed(file), job, file)


def as_record(content: bytes, job: Job, file: Path) -> Record:
    """A record from its JSON.

    Raises:
        DamagedError: if it cannot be read.
    """
    made_in = catalogue.passes().get(job.made_in)
    if made_in is None:
        raise DamagedError(file, f"its pass {job.made_in!r} is not known here. Include the folder that has it")
    try:
        beside = Beside(job, made_in.notes, made_in.findings)
        return Record.model_validate_json(content, strict=True, context=beside)
    except ValidationError as error:
        raise DamagedError(file, first_problem(error)) from error


def stand_in(job: Job, folder: Path, error: DamagedError) -> Record:
    """The stand-in for a damaged record: every outcome failed, with the file and what is wrong as the reason."""
    why = Missing(status="failed", kind="damaged", reason=f"{error.file.relative_to(folder)}: {error.problem}")
    outcomes = tuple(missing(case, made, why) for made in job.facts.makes for case in job.comparison.variants)
    return Record(job=job, started="", wall_s=0.0, outcomes=outcomes)


def has_values(run: Path) -> bool:
    """Whether a record of a run holds a value; what is damaged holds none."""
    for file in sorted((run / "jobs").rglob("*.json")):
        try:
            outcomes = read_sealed(file)["outcomes"]
        except DamagedError:
            continue
        if any(each["status"] == "ok" for each in outcomes):
            return True
    return False
