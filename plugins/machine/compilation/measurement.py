"""Time a compilation: the first call of one case in a cold process with an empty cache."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from modbench.extend import CompileNotes, Job, Metric, Outcome, Pass, Phase, Unmeasured, attempt, clocks, single

if TYPE_CHECKING:
    from modbench.extend import Case, Protocol, Subject


def run(job: Job, metrics: list[Metric[Subject, float]]) -> Iterator[Outcome]:
    """One outcome for each metric."""
    (case,) = job.comparison.variants
    # The compilers' own processes may still write there when it is deleted: what then remains must not cost the record.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
        # The compilers read these when they are first loaded, which is later.
        os.environ |= {"TORCHINDUCTOR_CACHE_DIR": cache, "TRITON_CACHE_DIR": f"{cache}/triton"}
        for metric in metrics:
            with clocks.busy():
                value = attempt(partial(_compile, case, job.protocol, metric))
            yield single(case, metric, value, CompileNotes(cache="empty: a folder of its own"))


def _compile(case: Case, protocol: Protocol, metric: Metric[Subject, float]) -> float:
    from modbench.extend import Subject

    if not case.grid_point.compile:
        raise Unmeasured("the model runs eagerly: nothing is compiled")
    return metric.measure(Subject(case, protocol.seed))


PASS = Pass(
    name="compile",
    run=run,
    # An earlier compilation in the process would warm the next one: one process per metric.
    each="case and group",
    forward_equivalents=100.0,
    notes=CompileNotes,
    phase=Phase.TIME,
    order=3,
    exclusive=True,
    timed=True,
    fresh_interpreter=True,
    statistic="single",
    no_interval="one compilation from an empty cache each: no interval, and no verdict",
    judged=False,
)
