"""Measure RSS: one case in a cold process whose malloc returns every tensor's pages, so that RSS counts tensors.

It is the high-water mark of one step above what was resident before it. Only with pages of its own for every tensor (see
`MALLOC`) was it within 0.2 % of the sum of tensors; otherwise 94 % low to 143 % high. `ru_maxrss` of a child starts at its
parent's, which is why VmHWM is read and reset instead.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from modbench.extend import (
    Job,
    MemoryNotes,
    Metric,
    Missing,
    Outcome,
    Pass,
    Phase,
    Unmeasured,
    Weighed,
    attempt,
    clocks,
    forecasts,
    measured,
    missing,
)

if TYPE_CHECKING:
    from modbench.extend import Case, Protocol, Subject

# Environment of the process: malloc gives every tensor pages of its own, and returns them when it is freed.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
WARM_UP = 2


def run(job: Job, metrics: list[Metric[Subject, float]]) -> Iterator[Outcome]:
    """One outcome for each metric, with the forecast."""
    (case,) = job.comparison.variants
    for metric in metrics:
        with clocks.busy():
            value = attempt(partial(_weigh, case, job.protocol, metric))
        if isinstance(value, Missing):
            yield missing(case, metric, value)
        else:
            yield measured(case, metric, {"value": [value]}, forecasts(case).of("memory/peak_allocated"))


def _weigh(case: Case, protocol: Protocol, metric: Metric[Subject, float]) -> float:
    return metric.measure(Weighed(case, protocol).subject)


def high_water(subject: Subject) -> float:
    """Measure the bytes of tensors at the peak of a training step.

    Raises:
        Unmeasured: off Linux, on a GPU, or where the mark cannot be reset.
    """
    from modbench.extend import bytes_of, resident

    if subject.case.grid_point.device != "cpu":
        raise Unmeasured("RSS does not include a GPU's memory: see memory/peak_reserved")
    if not os.environ.keys() >= MALLOC.keys():
        raise Unmeasured("RSS counts tensors only if malloc was set to return their pages before the process began")
    subject.module.train()
    tokens_BT = subject.inputs(0, 1)[0]
    for _ in range(WARM_UP):
        subject.train_step(tokens_BT)
    subject.optimizer.zero_grad(set_to_none=True)
    gc.collect()
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = _status("VmRSS")
        subject.train_step(tokens_BT)
        peak = _status("VmHWM")
    except OSError as error:
        raise Unmeasured(f"the high-water mark cannot be read here: {error}") from error
    return float(bytes_of(resident(subject, tokens_BT)) + peak - before)


def _status(field: str) -> int:
    """A line of the process's status, in B."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {field} in the process's status")


PASS = Pass(
    name="rss",
    run=run,
    each="case",
    forward_equivalents=15.0,
    notes=MemoryNotes,
    phase=Phase.TRAIN,
    order=1,
    fresh_interpreter=True,
    environment=MALLOC,
)
