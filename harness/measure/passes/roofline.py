"""Measure a CPU's peaks by shape: products, attention, elementwise work, the optimizer, starts of operators; and predict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from modbench.harness.core.contracts import AnyMetric
from modbench.harness.domain.case import Comparison, Job
from modbench.harness.domain.notes import Notes, RooflineFinding
from modbench.harness.domain.passes import Pass
from modbench.harness.domain.phases import Phase
from modbench.harness.machine.process import clocks
from modbench.harness.planning.jobs import JobMaker

# FLOPs that take about as long as the measurement.
WORK = 480e9


def run(job: Job, _metrics: list[AnyMetric]) -> Iterator[RooflineFinding]:
    """Measure the table and keep it, or take the one that was measured here today; yields a finding, no outcome."""
    import torch

    from modbench.harness.call.operator_peaks import measure
    from modbench.harness.machine import certificate, environment
    from modbench.harness.machine.roofline import stored

    grid_point = job.comparison.grid_point
    machine = certificate.fingerprint(environment.collect(), grid_point.device, grid_point.threads)
    known = stored.recent(machine, grid_point.dtype, torch.__version__)
    if known is not None:
        yield RooflineFinding(table=known, reused=True)
        return
    with clocks.busy():
        table = measure(grid_point.dtype, grid_point.threads)
    yield RooflineFinding(table=table, not_kept=stored.keep(machine, table))


def jobs(maker: JobMaker, comparison: Comparison, _metrics: Sequence[AnyMetric], _process: int) -> Iterator[Job]:
    """One job for each number format of a run on a CPU; none at smoke effort, which claims nothing."""
    grid_point = comparison.grid_point
    if maker.suite.claims and grid_point.device == "cpu":
        yield maker.job(f"{PASS.name}-{grid_point.dtype}-{grid_point.device}", comparison, PASS.name, WORK)


PASS = Pass(
    name="roofline",
    run=run,
    jobs=jobs,
    notes=Notes,
    findings=RooflineFinding,
    phase=Phase.TIME,
    exclusive=True,
    timed=True,
)
