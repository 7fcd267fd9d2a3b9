"""Measure the machine's peak: the fastest matrix product and copy, in a number format with a number of threads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from modbench.harness.core.contracts import AnyMetric
from modbench.harness.domain.case import Comparison, UnitOfWork
from modbench.harness.domain.notes import Notes, PeakFinding
from modbench.harness.domain.passes import Pass
from modbench.harness.domain.phases import Phase
from modbench.harness.planning.units_of_work import UnitMaker
from modbench.harness.process import clocks

# FLOPs that take about as long as the measurement.
WORK = 60e9


def run(unit: UnitOfWork, _metrics: list[AnyMetric]) -> Iterator[PeakFinding]:
    """Measure the peak; yields a finding, no outcome."""
    from modbench.harness.profiling.machine_peak import measure_peak

    place = unit.comparison.place
    with clocks.busy():
        yield PeakFinding.model_validate(measure_peak(place.device, place.dtype))


def units(
    maker: UnitMaker, comparison: Comparison, _metrics: Sequence[AnyMetric], _launch: int
) -> Iterator[UnitOfWork]:
    """One unit for each number format of a run."""
    place = comparison.place
    yield maker.unit(f"{PASS.name}-{place.dtype}-{place.device}", comparison, PASS.name, WORK)


PASS = Pass(
    name="peak", run=run, units=units, notes=Notes, findings=PeakFinding, phase=Phase.TIME, exclusive=True, timed=True
)
