"""The largest input that fits: the longest sequence and the largest batch whose training step fits a memory budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modbench.extend import Metric

if TYPE_CHECKING:
    from modbench.plugins.machine.fit.measurement import Search

METRICS: tuple[Metric[Search, int], ...] = (
    Metric(
        key="memory/largest_seq_len",
        unit="token",
        better="higher",
        measured_by="fit",
        workload="train_step",
        about="Longest sequence whose training step fits the memory limit, found by trying",
        measure=lambda search: search.largest("seq_len"),
    ),
    Metric(
        key="memory/largest_batch",
        unit="count",
        better="higher",
        measured_by="fit",
        workload="train_step",
        about="Largest batch whose training step fits the memory limit, found by trying",
        measure=lambda search: search.largest("batch_size"),
    ),
)
