"""Learning rates: the best multiple of the width rule, of those that a sweep tries before it makes a claim."""

from __future__ import annotations

from modbench.harness.core.contracts import Metric

METRICS = (
    Metric(
        key="lr/best",
        unit="ratio",
        better="neither",
        made_in="rates",
        workload="train",
        about="Best learning rate over the width rule's, at the middle size and the smallest budget of a sweep",
        measure=float,
        scored_as="difference",
    ),
)
