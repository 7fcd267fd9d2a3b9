"""Inspection pass: a metric's `measure` is given a fresh `Subject` and returns a count. Nothing is timed here."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from modbench.harness.core.case import Case, Protocol, UnitOfWork
from modbench.harness.core.contracts import Metric
from modbench.harness.machine import busy
from modbench.harness.results.outcomes import attempt, measured, missing
from modbench.harness.results.records import Gap, Outcome


def run(unit: UnitOfWork, metrics: list[Metric]) -> Iterator[Outcome]:
    """One outcome per case and metric."""
    for case in unit.comparison.arms:
        for metric in metrics:
            with busy.busy():
                value = attempt(partial(_inspect, case, unit.protocol, metric))
            yield (
                missing(case, metric, value)
                if isinstance(value, Gap)
                else measured(case, metric, {"value": [value]}, {})
            )


def _inspect(case: Case, protocol: Protocol, metric: Metric) -> float:
    """A metric of a fresh subject that has shown that it keeps its contract."""
    from modbench.harness.subject.subject import Subject

    subject = Subject(case, protocol.seed, decode=protocol.decode)
    subject.check(subject.inputs(protocol.seed, 1)[0])
    return float(metric.measure(subject))
