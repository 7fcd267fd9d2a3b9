"""Checks the numbers of a record before it is written. A user's pass or model can be wrong.

One infinite time among thousands changes a ratio, and nobody would notice. An outcome that cannot be a measurement becomes a
failed one. Reading does not repeat these checks: the digest shows whether the record is still as it was written.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from modbench.harness.core.problems import Path_, Problem
from modbench.harness.domain.case import UnitOfWork
from modbench.harness.domain.notes import Notes, TimeNotes, TrainNotes
from modbench.harness.domain.records import Outcome, Record
from modbench.harness.registry import catalogue
from modbench.harness.results.record_checks import check, is_shipped
from modbench.harness.results.record_files import as_record


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
    why = "the clock is too coarse for a call this short, or did not run" if "wall_s" in problem.place else ""
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
