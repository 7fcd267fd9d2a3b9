"""RSS pass: one case in a cold process whose malloc returns every tensor's pages, so that the system's account counts tensors."""

from __future__ import annotations

from collections.abc import Iterator

from modbench.harness.core.case import UnitOfWork
from modbench.harness.core.contracts import Metric
from modbench.harness.machine import busy
from modbench.harness.passes.memory import Weighed, forecasts
from modbench.harness.results.outcomes import attempt, measured, missing
from modbench.harness.results.records import Gap, Outcome


def run(unit: UnitOfWork, metrics: list[Metric]) -> Iterator[Outcome]:
    """One outcome, the forecast beside it."""
    (case,) = unit.comparison.arms
    for metric in metrics:
        with busy.busy():
            value = attempt(lambda: metric.measure(Weighed(case, unit.protocol).subject))  # noqa: B023  # called at once
        if isinstance(value, Gap):
            yield missing(case, metric, value)
        else:
            foretold = forecasts(case)
            notes = {"forecast": foretold.get(metric.key), "forecast_reason": foretold.get("reason")}
            yield measured(case, metric, {"value": [value]}, notes)
