"""Generation: seconds to read a prompt, and for one more token of every row against the keys and values kept of it."""

from __future__ import annotations

from modbench.harness.contracts import Metric

METRICS = (
    Metric(
        key="latency/prefill",
        unit="s",
        better="lower",
        made_in="time",
        workload="prefill",
        about="End-to-end wall time to read the prompts and fill the cache, routers deciding as at decode",
        measure=lambda subject: subject.prefill(),
    ),
    Metric(
        key="latency/decode",
        unit="s",
        better="lower",
        made_in="time",
        workload="decode",
        about="End-to-end wall time of one decode step of the whole batch: mean over the positions after the context",
        measure=lambda subject: subject.decode(),
        per="step",
    ),
)
