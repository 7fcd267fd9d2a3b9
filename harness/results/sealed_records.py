"""Seals and reads the record of a unit, and makes the stand-in for a damaged one.

A file begins with the digest of all that follows it: whoever reads it sees whether it is what was written.

Before it is written its numbers are checked (`usable`): a user's pass or model can be wrong, one infinite time among thousands
changes a ratio, and nobody would notice. Reading does not repeat that.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from modbench.harness.core.errors import UsageError
from modbench.harness.core.files import write_atomically
from modbench.harness.core.printable import escaped_json
from modbench.harness.core.problems import Path_, Problem, shown
from modbench.harness.domain.case import UnitOfWork
from modbench.harness.domain.notes import Notes, TimeNotes, TrainNotes
from modbench.harness.domain.records import SCHEMA, Missing, Outcome, Record
from modbench.harness.registry import catalogue
from modbench.harness.registry.lookup import fill_in
from modbench.harness.results.outcomes import missing
from modbench.harness.results.reading import DamagedError, load, parse, retyped
from modbench.harness.results.record_checks import check, is_shipped
from modbench.harness.results.upgrade import upgraded

ALTERED = "damaged: its content is not what was written"
# Parts of a unit that only run.json holds: they would be a tenth of each record.
FACTS: dict[str, Any] = {"facts": True, "comparison": {"facts": True}}
# How a record's file begins.
DIGEST = re.compile(rb'\{"digest":"([0-9a-f]{64})",')


@dataclass(frozen=True)
class Damaged:
    """A record that cannot be believed.

    Attributes:
        unit: name of its unit.
        error: what is wrong, with the file and the field.
    """

    unit: str
    error: DamagedError


def seal(text: str) -> bytes:
    """The bytes of a record's file.

    Args:
        text: the record as JSON, without its digest.
    """
    rest = escaped_json(text).encode()[1:]
    return b'{"digest":"%s",%s' % (hashlib.sha256(rest).hexdigest().encode(), rest)


def is_intact(content: bytes) -> bool:
    """Whether the file of a record holds what was written into it."""
    sealed = DIGEST.match(content)
    return sealed is not None and hashlib.sha256(memoryview(content)[sealed.end() :]).hexdigest().encode() == sealed[1]


def write_record(file: Path, record: Record, token: str) -> None:
    """Write a record into its file, with its digest and the token of its run."""
    of_run = record.model_copy(update={"token": token})
    write_atomically(file, seal(of_run.model_dump_json(exclude={"digest": True, "unit": FACTS})))


def edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a record in place, and seal it anew; one of an earlier modbench, which has no digest, gets none."""
    content = file.read_bytes()
    body = json.loads(content)
    change(body)
    if DIGEST.match(content):
        del body["digest"]
        write_atomically(file, seal(json.dumps(body, separators=(",", ":"))))
    else:
        write_atomically(file, json.dumps(body))


def read_record(file: Path, planned: UnitOfWork | None = None, token: str | None = None) -> Record:
    """Read a unit's record, of the current schema or an earlier one, and check it.

    Args:
        file: the record.
        planned: the unit as planned; None: the unit that the record says it is of.
        token: that of the run; None: any, as in a run of an earlier schema.

    Raises:
        DamagedError: if it is damaged; the message names the place.
        UsageError: if its schema is not one that can be read.
    """
    try:
        content = file.read_bytes()
    except IsADirectoryError:
        raise DamagedError(file, "a folder, not a file") from None
    written = _parsed(content, file, planned, token)
    if type(version := written.get("schema_version")) is not int:
        raise DamagedError(file, Problem(("schema_version",), f"{shown(version)} is no version"))
    # In a run that has a token no record is of an earlier schema: without its digest one could be edited by hand.
    if (token is not None or version == SCHEMA or "digest" in written) and not is_intact(content):
        raise DamagedError(file, ALTERED)
    body = current(written, file)
    if planned is not None and isinstance(body.get("unit"), dict):
        _add_planned(body["unit"], planned, version)
    record = as_record(body, file)
    if planned is not None and planned.name != record.unit.name:
        raise DamagedError(file, Problem(("unit", "name"), f"{shown(record.unit.name)}: the record of another unit"))
    if token is not None and record.token != token:
        raise DamagedError(file, Problem(("token",), "the record of another run"))
    for problem in itertools.chain(_retyped(body, record), check(record, planned or record.unit)):
        raise DamagedError(file, problem)
    return record


def as_record(body: dict[str, Any], file: Path) -> Record:
    """A record from its content: notes and findings are of the types that their passes name.

    Args:
        body: the content in the current schema.
        file: its file, for messages.

    Raises:
        DamagedError: if it is damaged.
    """
    unit, outcomes, findings = body.get("unit"), body.get("outcomes"), body.get("findings")
    made = dict(body)
    if isinstance(unit, dict) and "facts" not in unit:
        with contextlib.suppress(AttributeError, KeyError, TypeError):  # then a field is named below
            fill_in(unit)
    if isinstance(outcomes, list):
        made["outcomes"] = [_noted(each, i, file) for i, each in enumerate(outcomes)]
    if isinstance(findings, dict):
        name = unit.get("made_in") if isinstance(unit, dict) else getattr(unit, "made_in", None)
        known = catalogue.passes().get(str(name))
        if known is None or known.findings is None:
            raise DamagedError(file, Problem(("its start",), f"pass {name!r} has no findings"))
        made["findings"] = _validated(known.findings, findings, "findings", ("its start",), file)
    return parse(Record, made, file)


def _noted(outcome: object, number: int, file: Path) -> object:
    """An outcome's content with its notes as its metric's pass names them."""
    if not isinstance(outcome, dict) or not isinstance(notes := outcome.get("notes"), dict):
        return outcome
    if not notes:  # an outcome without a value
        return outcome | {"notes": Notes()}
    place, metric = ("outcomes", number), catalogue.metrics().get(str(outcome.get("metric")))
    if metric is None:
        raise DamagedError(file, Problem(place, f"unknown metric {outcome.get('metric')!r}"))
    return outcome | {"notes": _validated(catalogue.pass_of(metric).notes, notes, "notes", place, file)}


def _validated(kind: type[Notes], data: dict[str, Any], field: str, place: Path_, file: Path) -> Notes:
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        inside = ".".join(str(part) for part in (field, *first["loc"]))
        raise DamagedError(file, Problem(place, f"{inside}: {first['msg']}"[:300])) from error


def _add_planned(unit: dict[str, Any], planned: UnitOfWork, version: int) -> None:
    """Add to a record's unit what only the plan has: its facts and, before schema 11, its rule."""
    if version < SCHEMA:
        unit |= {"group": planned.group, "rule": planned.rule}
    unit["facts"] = planned.facts
    match unit.get("comparison"):
        case {"arms": [*arms], **more} if len(arms) == len(planned.comparison.arms):
            unit["comparison"] = {"arms": arms, **more, "facts": planned.comparison.facts}


def _parsed(content: bytes, file: Path, planned: UnitOfWork | None, token: str | None) -> dict[str, Any]:
    """A record's content. The planned unit, with which it begins if it is this plan's, is half of it and is not read again."""
    sealed = DIGEST.match(content)
    if planned is not None and token is not None and sealed:
        start = b'"token":%s,"schema_version":%d,' % (json.dumps(token).encode(), SCHEMA)
        unit = b'"unit":%s,' % planned.model_dump_json(exclude=FACTS).encode()
        if content.startswith(start + unit, sealed.end()):
            rest = load(file, b"{%s%s" % (start, content[sealed.end() + len(start) + len(unit) :]))
            if "unit" not in rest:
                return rest | {"unit": planned, "digest": sealed[1].decode()}
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
    """The stand-in for a damaged record: every outcome failed, with the file and the field as the reason."""
    why = Missing(status="failed", kind="damaged", reason=f"{error.file.relative_to(folder)}: {error.problem}")
    outcomes = tuple(missing(case, made, why) for made in unit.facts.makes for case in unit.comparison.arms)
    return Record(unit=unit, started="", wall_s=0.0, outcomes=outcomes)


def usable(record: Record) -> Record:
    """A record as a worker writes it: an outcome that cannot be a measurement, such as a time of 0 s, becomes a failed one.

    Raises:
        ValueError: if something besides outcomes was not planned.
        DamagedError: if something besides outcomes cannot be read, such as findings.
    """
    readable = _with_failed(record, check(record, record.unit))
    made = _with_failed(readable, implausible(readable))
    # A number in findings may be infinite, which JSON cannot hold.
    as_record(json.loads(made.model_dump_json()), Path(f"{made.unit.name}.json"))
    return made


def _with_failed(record: Record, problems: Iterable[Problem]) -> Record:
    wrong: dict[int, Problem] = {}
    for problem in problems:
        match problem.place:
            case ("outcomes", int(i), *_):
                wrong.setdefault(i, problem)
            case ("wall_s",):  # a model changed the clock: the parent, whose clock it cannot reach, notes that
                pass
            case _:
                raise ValueError(f"pass {record.unit.made_in} left what cannot be read: {problem}")
    outcomes = tuple(_failed(each, wrong[i]) if i in wrong else each for i, each in enumerate(record.outcomes))
    return record.model_copy(update={"outcomes": outcomes}) if wrong else record


def _failed(outcome: Outcome, problem: Problem) -> Outcome:
    what = Problem(problem.place[2:], problem.what)
    why = f"its unit is {outcome.unit}" if "samples" in problem.place else ""
    if "wall_s" in problem.place:
        why = "the clock is too coarse for a call this short, or did not run"
    reason = "; ".join(filter(None, (f"not a usable measurement: {str(what).removeprefix('damaged at ')}", why)))
    failed = {"status": "failed", "kind": "numerics", "reason": reason, "samples": {}, "notes": Notes()}
    return outcome.model_copy(update=failed)


def implausible(record: Record) -> Iterator[Problem]:
    """Yield values that can be read, but that no run of the unit can have measured."""
    unit, made_in = record.unit, catalogue.load("passes", record.unit.made_in)
    columns: dict[str, set[str]] = {}
    for outcome in record.outcomes:
        columns.setdefault(outcome.metric, set()).update(outcome.samples)
    for i, outcome in enumerate(record.outcomes):
        if outcome.status == "ok":
            place: Path_ = ("outcomes", i, "samples")
            for name in sorted(columns[outcome.metric] - outcome.samples.keys()):
                yield Problem((*place, name), "missing, though other cases of the unit have it")
            if made_in.samples == "launches":
                yield from _of_launch(outcome.samples, made_in.rounds(unit), record.wall_s, place)
            if is_shipped(made_in):
                yield from _of_protocol(outcome, unit, ("outcomes", i, "notes"))
    if is_shipped(made_in):  # of a user's pass it is not known what it leaves
        yield from _of_shipped(record)


def _of_launch(samples: Mapping[str, list[float]], rounds: int, unit_s: float, place: Path_) -> Iterator[Problem]:
    """Check that no sample outlasts the unit, and that each planned round has equally many samples at distinct positions."""
    for name in ("wall_s", "sample_s"):
        times = samples.get(name, [])
        if times and max(times) > unit_s > 0:
            at = times.index(max(times))
            yield Problem((*place, name, at), f"{max(times):g} s is longer than the unit's {unit_s:g} s")
    found = Counter(samples.get("round", ()))
    if found.keys() != set(range(rounds)):
        yield Problem((*place, "round"), f"{len(found)} rounds, where {rounds} were planned")
    elif len(set(found.values())) > 1:
        yield Problem((*place, "round"), "some rounds have more samples than others")
    of_block: dict[float, tuple[float, ...]] = {}
    shared = [samples[name] for name in ("round", "input") if name in samples]
    for i, (block, *where) in enumerate(zip(samples.get("block", ()), *shared, strict=False)):
        if of_block.setdefault(block, tuple(where)) != tuple(where):
            yield Problem((*place, "round", i), f"block {block:g} is in two rounds, or has two inputs")
            return
    spots = Counter(zip(samples.get("block", ()), samples.get("position", ()), strict=False))
    if spots and max(spots.values()) > 1:
        yield Problem((*place, "position"), "a block has two samples at one position")


def _of_protocol(outcome: Outcome, unit: UnitOfWork, place: Path_) -> Iterator[Problem]:
    """Check that the notes have the planned seed and size."""
    notes, at = outcome.notes, unit.comparison.place
    if isinstance(notes, TrainNotes) and notes.seed != unit.protocol.seed:
        yield Problem((*place, "seed"), f"{notes.seed}, where {unit.protocol.seed} was planned")
    if isinstance(notes, TimeNotes) and notes.tokens is not None:
        planned = at.tokens(unit.workload.partition("-")[0])
        if notes.tokens != planned:
            yield Problem((*place, "tokens"), f"{notes.tokens}, where {planned} were planned")


def _of_shipped(record: Record) -> Iterator[Problem]:
    """Check that every case has an outcome of every metric, and that blocks are numbered from 0."""
    there = {(outcome.case, outcome.metric) for outcome in record.outcomes}
    for made in record.unit.facts.makes:
        for case in record.unit.comparison.arms:
            if (case.id, made.key) not in there:
                yield Problem(("outcomes",), f"{made.key} of {case.id} is missing")
    for i, blocks in enumerate(record.blocks):
        numbers = blocks.columns.get("block", [])
        if numbers != list(range(len(numbers))):
            yield Problem(("blocks", i, "columns", "block"), "blocks are not numbered from 0")
