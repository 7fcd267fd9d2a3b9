"""Reads one unit's record from its file, or makes what stands for it where the file is damaged."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modbench.harness.core.case import UnitOfWork
from modbench.harness.core.errors import UsageError
from modbench.harness.results.checks import check
from modbench.harness.results.outcomes import missing
from modbench.harness.results.reading import DamagedError, Problem, load, parse, retyped, shown
from modbench.harness.results.records import SCHEMA, Gap, Record
from modbench.harness.results.upgrade import upgraded


@dataclass(frozen=True)
class Damaged:
    """A record that cannot be believed.

    Attributes:
        unit: name of its unit.
        error: what is wrong, with the file and the field.
    """

    unit: str
    error: DamagedError


def read_record(file: Path, planned: UnitOfWork | None = None) -> Record:
    """Read a unit's record, of the current schema or an earlier one, and check every number in it.

    Args:
        file: the record.
        planned: the unit as planned; None: the unit that the record says it is of.

    Raises:
        DamagedError: if it is damaged; the message names the place.
        UsageError: if its schema is not one that can be read.
    """
    written = _written(file, planned)
    if type(version := written.get("schema_version")) is not int:
        raise DamagedError(file, Problem(("schema_version",), f"{shown(version)} is no version"))
    body = current(written, file)
    record = parse(Record, body, file)
    if planned is not None and planned.name != record.unit.name:
        raise DamagedError(file, Problem(("unit", "name"), f"{shown(record.unit.name)}: the record of another unit"))
    for problem in itertools.chain(_retyped(body, record), check(record, planned or record.unit)):
        raise DamagedError(file, problem)
    return record


def _written(file: Path, planned: UnitOfWork | None) -> dict[str, Any]:
    """A record's content. The planned unit, with which it begins if it is this plan's, is half of it and is not read again."""
    content = file.read_bytes()
    if planned is not None:
        version = b'{"schema_version":%d' % SCHEMA
        head = b'%s,"unit":%s,' % (version, planned.model_dump_json().encode())
        if content.startswith(head):
            rest = load(file, b"%s,%s" % (version, content[len(head) :]))
            if "unit" not in rest:
                return rest | {"unit": planned}
    return load(file, content)


def _retyped(body: dict[str, Any], record: Record) -> Iterator[Problem]:
    """Yield numbers of the record that its file does not hold as numbers. The unit is compared with the planned one instead."""
    for name, parsed in record:
        if name != "unit":
            yield from retyped(body.get(name, parsed), parsed, (name,))


def current(body: dict[str, Any], file: Path) -> dict[str, Any]:
    """A file's content in the current schema."""
    try:
        return upgraded(body, file)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise DamagedError(file, "damaged: its content does not match the schema version that it states") from error


def stand_in(unit: UnitOfWork, folder: Path, error: DamagedError) -> Record:
    """What stands for a damaged record: every outcome failed, with the file and the field as the reason."""
    gap = Gap(status="failed", kind="damaged", reason=f"{error.file.relative_to(folder)}: {error.problem}")
    outcomes = tuple(missing(case, made, gap) for made in unit.facts.makes for case in unit.comparison.arms)
    return Record(unit=unit, started="", wall_s=0.0, outcomes=outcomes)
