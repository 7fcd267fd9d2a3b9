"""Measure the machine's peak: the fastest matrix product and copy, in a number format with a number of threads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from modbench.harness.core.contracts import AnyMetric
from modbench.harness.domain.case import Comparison, Job
from modbench.harness.domain.notes import Notes, PeakFinding
from modbench.harness.domain.passes import Pass
from modbench.harness.domain.phases import Phase
from modbench.harness.machine.process import clocks
from modbench.harness.planning.jobs import JobMaker

# FLOPs that take about as long as the measurement.
WORK = 60e9


def run(job: Job, _metrics: list[AnyMetric]) -> Iterator[PeakFinding]:
    """Measure the peak; yields a finding, no outcome."""
    from modbench.harness.call.machine_peak import measure_peak

    grid_point = job.comparison.grid_point
    with clocks.busy():
        yield PeakFinding.model_validate(measure_peak(grid_point.device, grid_point.dtype))


def jobs(maker: JobMaker, comparison: Comparison, _metrics: Sequence[AnyMetric], _process: int) -> Iterator[Job]:
    """One job for each number format of a run."""
    grid_point = comparison.grid_point
    yield maker.job(f"{PASS.name}-{grid_point.dtype}-{grid_point.device}", comparison, PASS.name, WORK)


PASS = Pass(
    name="peak", run=run, jobs=jobs, notes=Notes, findings=PeakFinding, phase=Phase.TIME, exclusive=True, timed=True
)
