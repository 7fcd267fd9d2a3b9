"""Measure RSS: one case in a cold process whose malloc returns every tensor's pages, so that RSS counts tensors."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from modbench.harness.call.memory.rss_mark import MALLOC
from modbench.harness.core.contracts import Metric
from modbench.harness.domain.case import Case, Job, Protocol
from modbench.harness.domain.notes import MemoryNotes
from modbench.harness.domain.passes import Pass
from modbench.harness.domain.phases import Phase
from modbench.harness.domain.records import Missing, Outcome
from modbench.harness.machine.process import clocks
from modbench.harness.measure.passes.memory import Weighed, forecasts
from modbench.harness.results.measured_or_missing import attempt, measured, missing

if TYPE_CHECKING:
    from modbench.harness.call.subject.subject import Subject


def run(job: Job, metrics: list[Metric[Subject, float]]) -> Iterator[Outcome]:
    """One outcome for each metric, with the forecast."""
    (case,) = job.comparison.variants
    for metric in metrics:
        with clocks.busy():
            value = attempt(partial(_weigh, case, job.protocol, metric))
        if isinstance(value, Missing):
            yield missing(case, metric, value)
        else:
            yield measured(case, metric, {"value": [value]}, forecasts(case).of(metric))


def _weigh(case: Case, protocol: Protocol, metric: Metric[Subject, float]) -> float:
    return metric.measure(Weighed(case, protocol).subject)


PASS = Pass(
    name="rss",
    run=run,
    each="case",
    forward_equivalents=15.0,
    notes=MemoryNotes,
    phase=Phase.TRAIN,
    order=1,
    fresh_interpreter=True,
    environment=MALLOC,
)
