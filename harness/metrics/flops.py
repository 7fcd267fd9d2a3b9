"""FLOPs: the closed form, held against torch's counter (a user's model: the counter alone)."""

from __future__ import annotations

from modbench.harness.contracts import Metric

METRICS = (
    Metric(
        key="flops/forward",
        unit="FLOP",
        better="lower",
        made_in="count",
        workload="forward",
        about="FLOPs of one forward pass: 2 per multiply-add, full-square attention, head included",
        measure=lambda counted: counted.forward,
    ),
    Metric(
        key="flops/train_step",
        unit="FLOP",
        better="lower",
        made_in="count",
        workload="train_step",
        about="FLOPs of forward and backward, backward counted as twice forward; the optimizer counts 0",
        measure=lambda counted: counted.train_step,
    ),
)
