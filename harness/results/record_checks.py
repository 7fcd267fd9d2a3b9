"""What a worker checks before it writes a record: a user's pass can be wrong, and so can a clock.

One infinite time among thousands changes a ratio, and nobody would notice. An outcome that cannot be a measurement becomes a
failed one, with the reason. Reading does not repeat that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from modbench.harness.core.errors import shown
from modbench.harness.core.units import COUNT, SECONDS, SHARE, TIME, Range
from modbench.harness.domain.notes import Notes, WithoutUserCodeFinding
from modbench.harness.domain.passes import Pass
from modbench.harness.domain.records import Outcome, Record
from modbench.harness.registry import catalogue
from modbench.harness.results.record_files import as_record

# Columns of samples, and what their values can be.
COLUMNS: dict[str, Range] = {
    **dict.fromkeys(("round", "block", "position", "input"), COUNT),
    **dict.fromkeys(("involuntary", "voluntary", "recompiles", "instructions"), COUNT),
    **dict.fromkeys(("wall_s", "sample_s"), TIME),
    **dict.fromkeys(("cpu_s", "wait_s", "collect_s", "escaped_s", "others_s", "blocked_s"), SECONDS),
    "calls": Range(1, 1e9, whole=True),
    "starved": SHARE,  # of the calls of a sample
}
# Columns of a process: those that are always there.
PROCESS = ("block", "calls", "wall_s")


def usable(record: Record) -> Record:
    """A record as a worker writes it: an outcome that cannot be a measurement, such as a time of 0 s, becomes a failed one.

    Raises:
        ValueError: if something besides outcomes cannot be a measurement, or an outcome is missing.
        DamagedError: if something besides outcomes could not be read again, such as an infinite number in findings.
    """
    made_in = catalogue.load("passes", record.job.made_in)
    wrong = {id(each): said for each in record.outcomes if (said := next(_of_outcome(each, record, made_in), None))}
    made = record.model_copy(update={"outcomes": tuple(_failed(each, wrong.get(id(each))) for each in record.outcomes)})
    for said in _of_record(record, made_in):
        raise ValueError(f"pass {made_in.name} left what cannot be read: {said}")
    as_record(made.model_dump_json().encode(), made.job, Path(f"{made.job.name}.json"))
    return made if wrong else record


def _failed(outcome: Outcome, said: str | None) -> Outcome:
    """An outcome that cannot be a measurement as a failed one; any other as it is."""
    if said is None:
        return outcome
    reason = f"not a usable measurement: {said}"
    failed = {"status": "failed", "kind": "numerics", "reason": reason, "samples": {}, "notes": Notes()}
    return outcome.model_copy(update=failed)


def _of_record(record: Record, made_in: Pass) -> Iterator[str]:
    """Yield what is wrong besides outcomes. Of a user's pass it is not known which outcomes it leaves."""
    there = {(outcome.case, outcome.metric) for outcome in record.outcomes}
    for made in record.job.facts.makes if catalogue.is_shipped("passes", made_in.name) else ():
        for case in record.job.comparison.variants:
            if (case.id, made.key) not in there:
                yield f"{made.key} of {case.id} is missing"
    for blocks in filter(lambda each: each.columns, record.blocks):
        yield from _columns(blocks.columns, COLUMNS, ("block", "wall_s"))
    if isinstance(record.findings, WithoutUserCodeFinding):
        for variants in record.findings.samples.values():
            for samples in variants.values():
                yield from _columns(samples, COLUMNS, PROCESS)


def _of_outcome(outcome: Outcome, record: Record, made_in: Pass) -> Iterator[str]:
    """Yield why an outcome cannot be a measurement."""
    job, metric = record.job, catalogue.metrics().get(outcome.metric)
    if metric is None or metric.measured_by != made_in.name or job.workload not in {"", metric.group}:
        raise ValueError(f"pass {made_in.name} left {shown(outcome.metric)}, which this job does not measure")
    if outcome.case not in {case.id for case in job.comparison.variants}:
        raise ValueError(f"pass {made_in.name} left {shown(outcome.case)}, which is no case of this job")
    if outcome.status != "ok":
        return
    if outcome.unit != metric.unit:
        yield f"unit: {shown(outcome.unit)}, but {metric.key} is in {metric.unit}"
    processes = made_in.samples == "processes"
    others = [set(each.samples) for each in record.outcomes if each.metric == metric.key]
    there = (made_in.column, *(("round", *PROCESS) if processes else ()), *sorted(set().union(*others)))
    for said in _columns(outcome.samples, COLUMNS | {made_in.column: metric.allowed}, there):
        yield f"{said}; its unit is {outcome.unit}"
    values = len(outcome.samples[made_in.column])
    if processes:
        yield from _of_process(outcome.samples, made_in.rounds(job), record.wall_s)
    elif values != 1:
        yield f"{made_in.column}: {values} values, but {metric.key} has one"


def _of_process(samples: Mapping[str, list[float]], rounds: int, job_s: float) -> Iterator[str]:
    """Yield a sample that outlasts the job, and rounds that are not as planned."""
    for name in ("wall_s", "sample_s"):
        longest = max(samples.get(name, [0.0]))
        if longest > job_s > 0:
            yield f"{name}: {longest:g} s is longer than the job's {job_s:g} s"
    found = Counter(samples["round"])
    if found.keys() != {*range(rounds)}:
        yield f"round: {len(found)} rounds, where {rounds} were planned"
    elif len({*found.values()}) > 1:
        yield "round: some rounds have more samples than others"


def _columns(columns: Mapping[str, list[float]], ranges: Mapping[str, Range], there: Collection[str]) -> Iterator[str]:
    """Yield columns that are missing or shorter than others, and values that are not in their range."""
    for name in there:
        if not columns.get(name):
            yield f"{name}: missing"
            return
    length = len(next(iter(columns.values())))
    for name, values in columns.items():
        if len(values) != length:
            yield f"{name}: {len(values)} values, where others have {length}"
        allowed = ranges.get(name, Range())
        for at, said in enumerate(map(allowed.lacks, values)):
            if said is not None:
                clock = "; the clock is too coarse for a call this short, or did not run" if name == "wall_s" else ""
                yield f"{name}[{at}]: {said}{clock}"
                break
