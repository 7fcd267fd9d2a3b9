"""Timing pass: a metric's `measure` is given a `Subject` and returns the function of a token batch that is timed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial

from modbench.harness.case import Case, Protocol, UnitOfWork
from modbench.harness.contracts import Metric
from modbench.harness.interleave import Call, Clock, Samples, measure
from modbench.harness.passes import SURVIVABLE, attempt, gap_of, measured, missing
from modbench.harness.records import Gap, Outcome

INPUTS = 4


def run(unit: UnitOfWork, metrics: list[Metric]) -> Iterator[Outcome]:
    """One launch of one comparison and one workload: all arms interleaved in this process."""
    import torch

    seed = unit.protocol.seed
    # Orders differ between launches, weights and inputs do not: what differs between launches is the process.
    rng = random.Random(f"{seed} {unit.name}")  # noqa: S311  # no secret
    place = unit.comparison.place
    clock = Clock(torch.cuda.synchronize if place.device == "cuda" else None, place.threads)
    for metric in metrics:
        calls: dict[str, Call] = {}
        gaps: dict[str, Gap] = {}
        for case in rng.sample(unit.comparison.arms, len(unit.comparison.arms)):  # construction order is a factor too
            call = attempt(partial(_call, case, unit.protocol, metric))
            if isinstance(call, Gap):
                gaps[case.id] = call
            else:
                calls[case.id] = call
        samples = measure(
            calls,
            unit.comparison.arms[0].id,
            rounds=unit.protocol.rounds,
            rng=rng,
            clock=clock,
            warm_up_calls=unit.protocol.warm_up_calls,
            on_error=partial(_note, gaps, place.device),
            survivable=SURVIVABLE,
        )
        for case in unit.comparison.arms:
            if case.id in gaps:
                yield missing(case, metric, gaps[case.id])
            else:
                yield measured(case, metric, _per_step(samples[case.id], metric, unit), {"clock": _clock(unit)})


def _note(gaps: dict[str, Gap], device: str, arm: str, error: BaseException) -> None:
    """Keep the reason, not the exception: its frames hold the tensors that did not fit."""
    import torch

    gaps[arm] = gap_of(error)
    if device == "cuda":
        torch.cuda.empty_cache()


def _per_step(samples: Samples, metric: Metric, unit: UnitOfWork) -> Samples:
    """Seconds of one decode step, where a call makes many."""
    if metric.per == "call":
        return samples
    steps = unit.protocol.decode.tokens
    return samples | {name: [seconds / steps for seconds in samples[name]] for name in ("wall_s", "cpu_s")}


def _call(case: Case, protocol: Protocol, metric: Metric) -> Call:
    from modbench.harness.subject import Subject

    subject = Subject(case, protocol.seed, decode=protocol.decode)
    batches = subject.inputs(protocol.seed, INPUTS)
    subject.check(batches[0])
    subject.module.train(metric.workload == "train_step")
    timed = metric.measure(subject)
    return lambda number: timed(batches[number % INPUTS])


def _clock(unit: UnitOfWork) -> str:
    cpu = "thread" if unit.comparison.place.threads == 1 else "process"
    return f"wall: perf_counter, end to end; cpu: {cpu} time"
