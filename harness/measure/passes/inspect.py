"""Inspect a model without timing it: a metric's `measure` is given a fresh `Subject` and returns a count."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from modbench.harness.core.contracts import Metric
from modbench.harness.domain.case import Case, Job, Protocol
from modbench.harness.domain.notes import Notes
from modbench.harness.domain.passes import Pass
from modbench.harness.domain.records import Outcome
from modbench.harness.machine.process import clocks
from modbench.harness.results.measured_or_missing import attempt, single

if TYPE_CHECKING:
    from modbench.harness.call.subject.subject import Subject


def run(job: Job, metrics: list[Metric[Subject, float]]) -> Iterator[Outcome]:
    """One outcome for each case and metric."""
    for case in job.comparison.variants:
        for metric in metrics:
            with clocks.busy():
                value = attempt(partial(_inspect, case, job.protocol, metric))
            yield single(case, metric, value)


def _inspect(case: Case, protocol: Protocol, metric: Metric[Subject, float]) -> float:
    """The metric of a fresh subject that has passed its check."""
    from modbench.harness.call.subject.subject import Subject

    subject = Subject(case, protocol.seed, decode=protocol.decode)
    subject.check(subject.inputs(protocol.seed, 1)[0])
    return metric.measure(subject)


PASS = Pass(name="inspect", run=run, notes=Notes, order=1)
