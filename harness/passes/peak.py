"""Peak pass: what the machine can do at its best with this number format and these threads. It makes no outcome."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from modbench.harness import busy
from modbench.harness.case import UnitOfWork
from modbench.harness.contracts import Metric


def run(unit: UnitOfWork, metrics: list[Metric]) -> Iterator[dict[str, Any]]:  # noqa: ARG001  # as every pass
    """`peak` for the record's environment."""
    from modbench.harness.peak import measure_peak

    place = unit.comparison.place
    with busy.busy():
        yield {"peak": measure_peak(place.device, place.dtype)}
