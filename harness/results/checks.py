"""Checks a record against what its unit was planned to measure: every number in it must be one that a run can have made.

What is refused here would otherwise end as a wrong number on the page: one infinite time among thousands moves a ratio without a
word. Honest passes are held to the same rules before they write (`usable`), so that what is read is what was measured.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from modbench.harness.core import catalogue
from modbench.harness.core.case import UnitOfWork
from modbench.harness.core.contracts import AnyMetric
from modbench.harness.core.frozen import Frozen
from modbench.harness.core.passes import Pass
from modbench.harness.core.units import COUNT, SECONDS, SHARE, TIME, Range
from modbench.harness.results.note_checks import of_findings, of_notes, of_protocol
from modbench.harness.results.notes import Notes
from modbench.harness.results.reading import Path_, Problem, shown
from modbench.harness.results.records import Blocks, Outcome, Record

# Columns of samples, and what their values can be.
COLUMNS: dict[str, Range] = {
    **dict.fromkeys(("round", "block", "position", "input", "involuntary", "recompiles"), COUNT),
    **dict.fromkeys(("wall_s", "sample_s"), TIME),
    **dict.fromkeys(("cpu_s", "wait_s", "collect_s", "escaped_s"), SECONDS),
    "calls": Range(1, 1e9, whole=True),
    "starved": SHARE,  # of the calls of a sample
}
# Columns that samples of every launch have, besides that of the value.
LAUNCH = ("round", "block", "calls", "wall_s")
# Columns of blocks: `block` and `wall_s` are always there, the others where a witness saw them (`machine/witness.py`, `nvml.py`).
BLOCKS: dict[str, Range] = {
    **dict.fromkeys(("block", "foreign", "unanswered"), COUNT),
    **dict.fromkeys(("wall_s", "steal_s", "pressure_s", "power_capped_s", "thermal_s", "thermal_hw_s"), SECONDS),
    "power_brake_s": SECONDS,
    "throttle": Range(0, 2**64, whole=True),
    **dict.fromkeys(("load", "mhz", "sm_mhz", "memory_mhz", "power_W"), Range(0)),
    "temperature_C": Range(),
}


def check(record: Record, planned: UnitOfWork) -> list[Problem]:
    """Return what is wrong with a record of a unit; empty if nothing is.

    Args:
        record: as read, or as a worker is about to write it.
        planned: the unit that it must be of.
    """
    foreign = [*_of_unit(record, planned)]
    return foreign or [
        *_of_process(record),
        *_of_outcomes(record),
        *_of_blocks(record),
        *of_findings(record.findings),
    ]


def usable(record: Record, unit: UnitOfWork) -> Record:
    """A record as a worker writes it: an outcome that no reader would accept, such as a time of 0 s, becomes a failed one."""
    wrong: dict[int, Problem] = {}
    for problem in check(record, unit):
        if problem.place[:1] == ("outcomes",) and len(problem.place) > 1 and isinstance(problem.place[1], int):
            wrong.setdefault(problem.place[1], problem)
    if not wrong:
        return record
    outcomes = [
        outcome if i not in wrong else _unusable(outcome, wrong[i]) for i, outcome in enumerate(record.outcomes)
    ]
    return record.model_copy(update={"outcomes": tuple(outcomes)})


def _unusable(outcome: Outcome, problem: Problem) -> Outcome:
    what = Problem(problem.place[2:], problem.what)
    why = "the clock is too coarse for a call this short, or did not run" if "wall_s" in problem.place else ""
    reason = "; ".join(filter(None, (f"not a usable measurement: {str(what).removeprefix('damaged at ')}", why)))
    failed = {"status": "failed", "kind": "numerics", "reason": reason, "samples": {}, "notes": Notes()}
    return outcome.model_copy(update=failed)


def _of_unit(record: Record, planned: UnitOfWork) -> Iterator[Problem]:
    """The unit that the record says it is of must be the planned one, in every field."""
    for place, mine, theirs in differences(record.unit, planned, ("unit",)):
        yield Problem(place, f"a record of another plan: {shown(mine)}, planned {shown(theirs)}")
        return
    if record.unit.made_in not in catalogue.passes():
        yield Problem(("unit", "made_in"), f"{shown(record.unit.made_in)} is no pass")
    for name in sorted({*record.unit.comparison.metrics} - catalogue.metrics().keys())[:1]:
        yield Problem(("unit", "comparison", "metrics"), f"{shown(name)} is no metric")


def differences(mine: object, theirs: object, place: Path_) -> Iterator[tuple[Path_, object, object]]:
    """Yield the fields in which two parts of a plan differ."""
    if mine is theirs or mine == theirs:
        return
    if isinstance(mine, Frozen) and type(mine) is type(theirs):
        for name in type(mine).model_fields:
            yield from differences(getattr(mine, name), getattr(theirs, name), (*place, name))
    elif isinstance(mine, tuple) and isinstance(theirs, tuple) and len(mine) == len(theirs):
        for i, (one, other) in enumerate(zip(mine, theirs, strict=True)):
            yield from differences(one, other, (*place, i))
    else:
        yield place, mine, theirs


def _of_process(record: Record) -> Iterator[Problem]:
    if said := SECONDS.lacks(record.wall_s):
        yield Problem(("wall_s",), said)
    if record.began_s is not None and (said := Range(-1e18, 1e18).lacks(record.began_s)):
        yield Problem(("began_s",), said)
    for i, (start, end) in enumerate(record.busy):
        if not start <= end:
            yield Problem(("busy", i), f"it ends at {end:g} s, before it begins at {start:g} s")
    if record.died is not None and record.died.kind == "damaged":
        yield Problem(("died", "kind"), "no process dies of that")


def _of_outcomes(record: Record) -> Iterator[Problem]:
    made_in, metrics = catalogue.passes()[record.unit.made_in], catalogue.metrics()
    planned = {case.id for case in record.unit.comparison.arms}
    seen: dict[tuple[str, str], int] = {}
    for i, outcome in enumerate(record.outcomes):
        place: Path_ = ("outcomes", i)
        metric = metrics.get(outcome.metric)
        if metric is None or metric.made_in != made_in.name or record.unit.workload not in {"", metric.group}:
            yield Problem((*place, "metric"), f"{shown(outcome.metric)} is not measured by this unit")
            continue
        if outcome.case not in planned:
            yield Problem((*place, "case"), f"{shown(outcome.case)} is not a case of this unit")
        if (outcome.case, outcome.metric) in seen:
            yield Problem(place, f"{outcome.metric} of {shown(outcome.case)} is there twice")
        seen[outcome.case, outcome.metric] = i
        yield from _of_outcome(outcome, metric, made_in, record, place)
    yield from _unlike(record)
    yield from _lacking(record, made_in, seen)


def _unlike(record: Record) -> Iterator[Problem]:
    """All arms have the same columns: what was watched of one was watched of all."""
    columns: dict[str, set[str]] = {}
    for outcome in record.outcomes:
        columns.setdefault(outcome.metric, set()).update(outcome.samples)
    for i, outcome in enumerate(record.outcomes):
        for name in sorted(columns[outcome.metric] - outcome.samples.keys()) if outcome.status == "ok" else ():
            yield Problem(("outcomes", i, "samples", name), "missing, though other cases of the unit have it")


def _lacking(record: Record, made_in: Pass, seen: Collection[tuple[str, str]]) -> Iterator[Problem]:
    """A launch without an outcome would be one launch fewer, without a word. Of a user's pass it is not known what it leaves."""
    if not shipped(made_in):
        return
    for key in sorted(catalogue.needed(record.unit.comparison.metrics)):
        metric = catalogue.metrics()[key]
        for case in record.unit.comparison.arms if record.unit.makes(metric) else ():
            if (case.id, key) not in seen:
                yield Problem(("outcomes",), f"{key} of {case.id} is missing")


def shipped(made_in: Pass) -> bool:
    """Whether a pass is modbench's own, so that everything which it leaves is known."""
    return catalogue.is_shipped("passes", made_in.name)


def _of_outcome(outcome: Outcome, metric: AnyMetric, made_in: Pass, record: Record, place: Path_) -> Iterator[Problem]:
    if outcome.unit != metric.unit:
        yield Problem((*place, "unit"), f"{shown(outcome.unit)}, but {metric.key} is in {metric.unit}")
    if outcome.kind == "damaged":
        yield Problem((*place, "kind"), "no pass fails with that")
    if outcome.status != "ok":
        return
    yield from _of_samples(outcome, metric, made_in, record, (*place, "samples"))
    if shipped(made_in) and type(outcome.notes) is not made_in.notes:
        yield Problem((*place, "notes"), "missing")
    yield from of_notes(outcome.notes, (*place, "notes"))
    if shipped(made_in):
        yield from of_protocol(outcome, metric, record.unit, (*place, "notes"))


def _of_samples(outcome: Outcome, metric: AnyMetric, made_in: Pass, record: Record, place: Path_) -> Iterator[Problem]:
    samples, own = outcome.samples, made_in.column
    ranges = COLUMNS | {own: metric.allowed}
    launches = made_in.samples == "launches"
    for name in (own, *(LAUNCH if launches else ())):
        if name not in samples:
            yield Problem((*place, name), "missing")
            return
    if not launches and len(samples[own]) != 1:
        yield Problem((*place, own), f"{len(samples[own])} values, but {metric.key} has one")
    yield from _columns(samples, ranges, place, known=shipped(made_in))
    longest = record.wall_s
    for name in ("wall_s", "sample_s") if launches else ():
        times = samples.get(name, [])
        if times and max(times) > longest > 0:
            at = times.index(max(times))
            yield Problem((*place, name, at), f"{max(times):g} s is longer than the unit's {longest:g} s")
    if launches:
        yield from _of_rounds(samples, place)
        yield from _all_rounds(samples.get("round"), made_in.rounds(record.unit), place)


def _all_rounds(rounds: list[float] | None, planned: int, place: Path_) -> Iterator[Problem]:
    """Every planned round is there, with equally many samples."""
    if rounds is None:
        return
    found = Counter(rounds)
    if set(found) != set(range(planned)):
        yield Problem((*place, "round"), f"{len(found)} rounds, where {planned} were planned")
    elif len(set(found.values())) > 1:
        yield Problem((*place, "round"), "some rounds have more samples than others")


def _of_rounds(samples: Mapping[str, list[float]], place: Path_) -> Iterator[Problem]:
    """A block belongs to one round, and so to one input; no two samples have the same place in it."""
    rounds: dict[float, tuple[float, ...]] = {}
    taken = set[tuple[float, ...]]()
    of = [samples[name] for name in ("block", "round", "input", "position") if name in samples]
    if len({*map(len, of)}) > 1:
        return  # ragged: said already
    for i, (block, *where) in enumerate(zip(*of, strict=True)):
        shared = tuple(where[:-1] if "position" in samples else where)
        if rounds.setdefault(block, shared) != shared:
            yield Problem((*place, "round", i), f"block {block:g} is in two rounds, or has two inputs")
            return
        if "position" in samples and (spot := (block, where[-1])) in taken:
            yield Problem((*place, "position", i), f"block {block:g} has two samples at position {spot[1]:g}")
            return
        taken.add((block, where[-1] if where else 0.0))


def _columns(
    columns: Mapping[str, list[float]], ranges: Mapping[str, Range], place: Path_, *, known: bool
) -> Iterator[Problem]:
    """Columns are equally long, have known names, and hold values that can be."""
    length = len(next(iter(columns.values()), ()))
    for name, values in columns.items():
        if name not in ranges and known:
            yield Problem((*place, name), "no pass leaves a column of that name")
        if len(values) != length:
            yield Problem((*place, name), f"{len(values)} values, where others have {length}")
        allowed = ranges.get(name, Range())
        if not (all(map(math.isfinite, values)) and allowed.holds(values)):
            at, said = next((i, said) for i, value in enumerate(values) if (said := allowed.lacks(value)))
            yield Problem((*place, name, at), said)


def _of_blocks(record: Record) -> Iterator[Problem]:
    known, groups = shipped(catalogue.passes()[record.unit.made_in]), set[str]()
    for i, blocks in enumerate(record.blocks):
        place: Path_ = ("blocks", i, "columns")
        if blocks.group in groups or (known and blocks.group != record.unit.workload):
            yield Problem(
                ("blocks", i, "group"), f"{shown(blocks.group)} is there twice, or is not what this unit timed"
            )
        groups.add(blocks.group)
        if blocks.columns:
            yield from _of_columns(blocks, place, known=known)


def _of_columns(blocks: Blocks, place: Path_, *, known: bool) -> Iterator[Problem]:
    for name in ("block", "wall_s"):
        if name not in blocks.columns:
            yield Problem((*place, name), "missing")
            return
    yield from _columns(blocks.columns, BLOCKS, place, known=known)
    numbers = blocks.columns["block"]
    if known and numbers != list(range(len(numbers))):
        yield Problem((*place, "block"), "blocks are not numbered from 0")
