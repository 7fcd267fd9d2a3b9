"""Whole requests: a prompt is read and new tokens are made, from end to end in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modbench.harness.core.contracts import Metric
from modbench.harness.measure.metrics.latency import NOT_KNOWN, generation, timed

if TYPE_CHECKING:
    from modbench.harness.call.subject.subject import Subject
    from modbench.harness.measure.passes.time import Call

REQUEST: Metric[Subject, Call] = timed(
    key="latency/request",
    workload="request",
    no_theoretical=NOT_KNOWN,
    about="End-to-end wall time of a request P+N: a prompt of P tokens and N decode steps, each token read by the host",
    measure=lambda subject: generation(subject).request(),
)

METRICS = (REQUEST,)
