"""Compile pass: one case in a cold process with an empty cache: how long until compiled code answers."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from functools import partial

from modbench.harness.core.case import Case, Protocol, UnitOfWork
from modbench.harness.core.contracts import Metric
from modbench.harness.core.errors import Unmeasured
from modbench.harness.machine import busy
from modbench.harness.results.outcomes import attempt, measured, missing
from modbench.harness.results.records import Gap, Outcome


def run(unit: UnitOfWork, metrics: list[Metric]) -> Iterator[Outcome]:
    """One outcome per metric."""
    (case,) = unit.comparison.arms
    with tempfile.TemporaryDirectory() as cache:
        # Read when the compilers are first loaded: after this.
        os.environ |= {"TORCHINDUCTOR_CACHE_DIR": cache, "TRITON_CACHE_DIR": f"{cache}/triton"}
        for metric in metrics:
            with busy.busy():
                value = attempt(partial(_compile, case, unit.protocol, metric))
            if isinstance(value, Gap):
                yield missing(case, metric, value)
            else:
                yield measured(case, metric, {"value": [value]}, {"cache": "cold: an empty folder of its own"})


def _compile(case: Case, protocol: Protocol, metric: Metric) -> float:
    from modbench.harness.subject.subject import Subject

    if not case.place.compile:
        raise Unmeasured("run eagerly: nothing is compiled")
    subject = Subject(case, protocol.seed)
    return float(metric.measure(subject))
