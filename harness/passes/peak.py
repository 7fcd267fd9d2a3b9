"""Peak pass: what the machine can do at its best with this number format and these threads. It makes no outcome."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from modbench.harness.core.case import UnitOfWork
from modbench.harness.core.contracts import Metric
from modbench.harness.machine import busy


def run(unit: UnitOfWork, metrics: list[Metric]) -> Iterator[dict[str, Any]]:  # noqa: ARG001  # as every pass
    """`peak` for the record's environment."""
    from modbench.harness.profiling.machine_peak import measure_peak

    place = unit.comparison.place
    with busy.busy():
        yield {"peak": measure_peak(place.device, place.dtype)}
