"""Energy: joules from the NVIDIA driver's counter over windows of seconds; null with the reason where there is none."""

from __future__ import annotations

from modbench.harness.core.contracts import Metric

METRICS = (
    Metric(
        key="energy/total",
        unit="J",
        better="lower",
        made_in="energy",
        workload="train_step",
        about="Energy of one training step, whole device, idle power included",
        measure=lambda subject: subject.train_step,
    ),
    Metric(
        key="energy/per_token",
        unit="J",
        better="lower",
        made_in="energy",
        workload="train_step",
        about="Energy of a training step per token of its batch",
        measure=lambda subject: subject.train_step,
    ),
    Metric(
        key="energy/per_token/forward",
        unit="J",
        better="lower",
        made_in="energy",
        workload="forward",
        about="Energy of a forward pass per token of its batch",
        measure=lambda subject: subject.forward,
    ),
    Metric(
        key="energy/per_token/decode",
        unit="J",
        better="lower",
        made_in="energy",
        workload="decode",
        about="Energy of decoding per token of every row",
        measure=lambda subject: subject.decode(),
    ),
)
