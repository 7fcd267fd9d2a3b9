"""Learning rates: the best multiple of the width rule's rate, among those that a sweep tries before its runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modbench.extend import Metric, Range

if TYPE_CHECKING:
    from modbench.plugins.sweeps.rates.measurement import Tried

METRICS: tuple[Metric[Tried, float], ...] = (
    Metric(
        key="lr/best_over_rule",
        unit="ratio",
        better="neither",
        measured_by="rates",
        workload="train",
        about="Best learning rate divided by the width rule's, at the middle size and the smallest budget of a sweep",
        measure=lambda tried: tried.best,
        scored_as="difference",
        range=Range(0, above=True),
    ),
)
