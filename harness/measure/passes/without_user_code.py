"""Time the shipped models once where no user's code is loaded: does it change the time of models that it is no part of?"""

from __future__ import annotations

from collections.abc import Iterator

from modbench.harness.core.contracts import AnyMetric
from modbench.harness.domain.case import Job
from modbench.harness.domain.notes import Notes, WithoutUserCodeFinding
from modbench.harness.domain.passes import Pass
from modbench.harness.domain.phases import Phase
from modbench.harness.domain.records import Blocks
from modbench.harness.measure.passes import time
from modbench.harness.registry import catalogue


def run(job: Job, _metrics: list[AnyMetric]) -> Iterator[WithoutUserCodeFinding]:
    """Time one process as any other; yields its samples as a finding, since they belong to no cell of a table."""
    needed = catalogue.with_sources(job.comparison.metrics)
    metrics = [
        metric
        for metric in catalogue.metrics().values()
        if metric.measured_by == time.PASS.name and metric.group == job.workload and metric.key in needed
    ]
    samples: dict[str, dict[str, dict[str, list[float]]]] = {}
    reasons, blocks = list[str](), dict[str, list[float]]()
    for made in time.run(job, metrics):
        if isinstance(made, Blocks):
            blocks = made.columns
        elif made.status == "ok" and min(made.samples["wall_s"]) > 0:
            samples.setdefault(made.metric, {})[made.case] = made.samples
        else:
            reasons.append(f"{made.metric} of {made.case}: {made.reason or 'the clock is too coarse'}")
    yield WithoutUserCodeFinding(samples=samples, blocks=blocks, reason="; ".join(reasons) or None)


PASS = Pass(
    name="without_user_code",
    run=run,
    jobs=lambda *_: (),  # the timing pass makes them, among its processes
    notes=Notes,
    findings=WithoutUserCodeFinding,
    phase=Phase.TIME,
    exclusive=True,
    timed=True,
)
