"""Inspection pass: a metric's `measure` is given a fresh `Subject` and returns a count. Nothing is timed here."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from modbench.harness import busy
from modbench.harness.case import UnitOfWork
from modbench.harness.contracts import Metric
from modbench.harness.passes import attempt, measured, missing
from modbench.harness.passes.memory import weigh
from modbench.harness.records import Gap, Outcome


def run(unit: UnitOfWork, metrics: list[Metric]) -> Iterator[Outcome]:
    """One outcome per case and metric."""
    for case in unit.comparison.arms:
        for metric in metrics:
            with busy.busy():
                value = attempt(partial(weigh, case, unit.protocol, metric))
            yield (
                missing(case, metric, value)
                if isinstance(value, Gap)
                else measured(case, metric, {"value": [value]}, {})
            )
