"""Measure a CPU's peaks by shape: products, attention, elementwise work, the optimizer, launches. What is attainable follows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from modbench.harness.core.contracts import AnyMetric
from modbench.harness.domain.case import Comparison, UnitOfWork
from modbench.harness.domain.notes import Notes, RooflineFinding
from modbench.harness.domain.passes import Pass
from modbench.harness.domain.phases import Phase
from modbench.harness.planning.units_of_work import UnitMaker
from modbench.harness.process import clocks

# FLOPs that take about as long as the measurement.
WORK = 480e9


def run(unit: UnitOfWork, _metrics: list[AnyMetric]) -> Iterator[RooflineFinding]:
    """Measure the table and keep it, or take the one that was measured here today; yields a finding, no outcome."""
    import torch

    from modbench.harness.machine import certificate, environment
    from modbench.harness.profiling.measured_table import measure
    from modbench.harness.roofline import stored

    place = unit.comparison.place
    machine = certificate.fingerprint(environment.collect(), place.device, place.threads)
    known = stored.recent(machine, place.dtype, torch.__version__)
    if known is not None:
        yield RooflineFinding(table=known, reused=True)
        return
    with clocks.busy():
        table = measure(place.dtype, place.threads)
    yield RooflineFinding(table=table, not_kept=stored.keep(machine, table))


def units(
    maker: UnitMaker, comparison: Comparison, _metrics: Sequence[AnyMetric], _launch: int
) -> Iterator[UnitOfWork]:
    """One unit for each number format of a run on a CPU; none at smoke effort, which claims nothing."""
    place = comparison.place
    if maker.suite.claims and place.device == "cpu":
        yield maker.unit(f"{PASS.name}-{place.dtype}-{place.device}", comparison, PASS.name, WORK)


PASS = Pass(
    name="roofline",
    run=run,
    units=units,
    notes=Notes,
    findings=RooflineFinding,
    phase=Phase.TIME,
    exclusive=True,
    timed=True,
)
