"""Checks that a record can be read: names, columns, lengths, and numbers that others are divided by.

The digest shows whether a record is as it was written. But anyone can compute a new digest, and records of earlier schemas have
none: these checks refuse what would mislead or stop a reader. A worker applies them, with those of `sealed_records.py`, before it
writes. The types of notes and findings check their own fields.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from modbench.harness.core.problems import Path_, Problem, shown
from modbench.harness.core.units import COUNT, SECONDS, SHARE, TIME, Range
from modbench.harness.domain.case import UnitOfWork
from modbench.harness.domain.notes import WithoutOwnFinding
from modbench.harness.domain.passes import Pass
from modbench.harness.domain.records import Outcome, Record
from modbench.harness.registry import catalogue
from modbench.harness.results.reading import DamagedError

# Columns of samples, and what their values can be.
COLUMNS: dict[str, Range] = {
    **dict.fromkeys(("round", "block", "position", "input"), COUNT),
    **dict.fromkeys(("involuntary", "voluntary", "recompiles", "instructions"), COUNT),
    **dict.fromkeys(("wall_s", "sample_s"), TIME),
    **dict.fromkeys(("cpu_s", "wait_s", "collect_s", "escaped_s", "others_s", "blocked_s"), SECONDS),
    "calls": Range(1, 1e9, whole=True),
    "starved": SHARE,  # of the calls of a sample
}
# Columns of a launch: those that are always there.
LAUNCH = ("block", "calls", "wall_s")
# Numbers in notes that others are divided by; all others are at least 0.
DIVISORS = {
    **dict.fromkeys(("tokens", "per", "inputs", "counted_inputs"), Range(1, 1e18)),
    **dict.fromkeys(("power_W", "rule", "lr"), Range(0, above=True)),
}
NOT_NEGATIVE = Range(0)
# Clocks tick in nanoseconds: so many times of two launches are equal only if one was copied.
LEAST_TIMES = 8


def check(record: Record, planned: UnitOfWork) -> Iterator[Problem]:
    """Yield the problems of a record.

    Args:
        record: as read, or as a worker is about to write it.
        planned: the unit that it must be of.
    """
    made_in = catalogue.passes().get(record.unit.made_in)
    if record.unit != planned or made_in is None:
        yield Problem(("unit",), "a record of another plan")
        return
    if said := SECONDS.lacks(record.wall_s):
        yield Problem(("wall_s",), said)
    if record.died is not None and record.died.kind == "damaged":
        yield Problem(("died", "kind"), "no process dies of that")
    for i, outcome in enumerate(record.outcomes):
        yield from _of_outcome(outcome, record.unit, made_in, ("outcomes", i))
    yield from _without_shared_block(record)
    for i, blocks in enumerate(record.blocks):
        if is_shipped(made_in) and blocks.group != record.unit.workload:
            yield Problem(("blocks", i, "group"), f"{shown(blocks.group)} is not what this unit timed")
        if blocks.columns:
            yield from _columns(blocks.columns, COLUMNS, ("block", "wall_s"), ("blocks", i, "columns"), known=False)
    if isinstance(record.findings, WithoutOwnFinding):
        for metric, arms in record.findings.samples.items():
            for case, samples in arms.items():
                yield from _columns(samples, COLUMNS, LAUNCH, ("findings", "samples", metric, case), known=False)


def _without_shared_block(record: Record) -> Iterator[Problem]:
    """Yield arms that share no block with their anchor: an effect is that of blocks in which both were timed."""
    anchor, anchors = record.unit.comparison.arms[0].id, dict[str, set[float]]()
    for outcome in record.outcomes:
        if outcome.case == anchor and "block" in outcome.samples:
            anchors.setdefault(outcome.metric, {*outcome.samples["block"]})
    for i, outcome in enumerate(record.outcomes):
        blocks = outcome.samples.get("block")
        if blocks and outcome.metric in anchors and anchors[outcome.metric].isdisjoint(blocks):
            yield Problem(("outcomes", i, "samples", "block"), "no block of the anchor")


def is_shipped(made_in: Pass) -> bool:
    """Whether a pass comes with modbench, so that all of its columns and notes are known."""
    return catalogue.is_shipped("passes", made_in.name)


def _of_outcome(outcome: Outcome, unit: UnitOfWork, made_in: Pass, place: Path_) -> Iterator[Problem]:
    metric = catalogue.metrics().get(outcome.metric)
    if metric is None or metric.measured_by != made_in.name or unit.workload not in {"", metric.group}:
        yield Problem((*place, "metric"), f"{shown(outcome.metric)} is not measured by this unit")
        return
    if outcome.case not in {case.id for case in unit.comparison.arms}:
        yield Problem((*place, "case"), f"{shown(outcome.case)} is not a case of this unit")
    if outcome.unit != metric.unit:
        yield Problem((*place, "unit"), f"{shown(outcome.unit)}, but {metric.key} is in {metric.unit}")
    if outcome.kind == "damaged":
        yield Problem((*place, "kind"), "no pass fails with that")
    if outcome.status != "ok":
        return
    launches, known = made_in.samples == "launches", is_shipped(made_in)
    ranges = COLUMNS | {made_in.column: metric.allowed}
    there = (made_in.column, *(("round", *LAUNCH) if launches else ()))
    yield from _columns(outcome.samples, ranges, there, (*place, "samples"), known=known)
    values = len(outcome.samples.get(made_in.column, [0]))
    if not launches and values != 1:
        yield Problem((*place, "samples", made_in.column), f"{values} values, but {metric.key} has one")
    if known and type(outcome.notes) is not made_in.notes:
        yield Problem((*place, "notes"), "missing")
    for name, value in outcome.notes:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and (said := DIVISORS.get(name, NOT_NEGATIVE).lacks(value)):
            yield Problem((*place, "notes", name), said)


def _columns(
    columns: Mapping[str, list[float]],
    ranges: Mapping[str, Range],
    there: Collection[str],
    place: Path_,
    *,
    known: bool,
) -> Iterator[Problem]:
    """Check columns: none is missing, all are equally long and have known names, and every value is in its range."""
    for name in there:
        if not columns.get(name):
            yield Problem((*place, name), "missing")
            return
    length = len(next(iter(columns.values())))
    for name, values in columns.items():
        if name not in ranges and known:
            yield Problem((*place, name), "no pass leaves a column of that name")
        if len(values) != length:
            yield Problem((*place, name), f"{len(values)} values, where others have {length}")
        allowed = ranges.get(name, Range())
        if not allowed.holds(values):
            at, said = next((i, said) for i, value in enumerate(values) if (said := allowed.lacks(value)))
            yield Problem((*place, name, at), said)


class DuplicateLaunches:
    """Finds launches whose times are those of another: they would count as evidence twice, without any spread."""

    def __init__(self) -> None:
        self._unit_of: dict[tuple[str, str, str, int], str] = {}

    def check(self, record: Record, file: Path) -> None:
        """Check the next record.

        Raises:
            DamagedError: if its times are those of an earlier one.
        """
        for i, outcome in enumerate(record.outcomes):
            times = outcome.samples.get("wall_s", [])
            key = (record.unit.series, outcome.case, outcome.metric, hash(tuple(times)))
            if (
                len(times) >= LEAST_TIMES
                and (other := self._unit_of.setdefault(key, record.unit.name)) != record.unit.name
            ):
                where: Path_ = ("outcomes", i, "samples", "wall_s")
                raise DamagedError(file, Problem(where, f"the same times as in {other}: a copy, not a measurement"))
