"""Latency: wall seconds per call, device synchronised before and after; CPU seconds of the thread beside them."""

from __future__ import annotations

from modbench.harness.contracts import Metric

METRICS = (
    Metric(
        key="latency/forward",
        unit="s",
        better="lower",
        made_in="time",
        workload="forward",
        about="End-to-end wall time of one forward pass without gradients",
        measure=lambda subject: subject.forward,
    ),
    Metric(
        key="latency/train_step",
        unit="s",
        better="lower",
        made_in="time",
        workload="train_step",
        about="End-to-end wall time of one training step: forward, backward, AdamW",
        measure=lambda subject: subject.train_step,
    ),
)
