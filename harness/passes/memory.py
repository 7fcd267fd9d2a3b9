"""Memory pass: a metric's `measure` is given a fresh `Subject` and returns bytes. Nothing is timed here."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from modbench.harness import busy
from modbench.harness.case import ELEMENT_BYTES, Case, Protocol, UnitOfWork
from modbench.harness.contracts import Metric
from modbench.harness.costs import case_cost
from modbench.harness.passes import attempt, measured, missing
from modbench.harness.records import Gap, Outcome


def run(unit: UnitOfWork, metrics: list[Metric]) -> Iterator[Outcome]:
    """One outcome per case and metric, the forecast beside it."""
    for case in unit.comparison.arms:
        cost = case_cost(case)
        forecast = cost.memory_train(ELEMENT_BYTES[case.place.dtype]) if cost else None
        for metric in metrics:
            with busy.busy():
                value = attempt(partial(weigh, case, unit.protocol, metric))
            if isinstance(value, Gap):
                yield missing(case, metric, value)
            else:
                trained = metric.workload == "train_step"
                yield measured(case, metric, {"value": [value]}, {"forecast": forecast if trained else None})


def weigh(case: Case, protocol: Protocol, metric: Metric) -> float:
    """A metric of a fresh subject that has shown that it keeps its contract."""
    from modbench.harness.subject import Subject

    subject = Subject(case, protocol.seed, decode=protocol.decode)
    subject.check(subject.inputs(protocol.seed, 1)[0])
    return float(metric.measure(subject))
