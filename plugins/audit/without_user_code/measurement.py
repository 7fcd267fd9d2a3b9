"""Time the shipped models once where no user's code is loaded: does it change the time of models that it is no part of?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from modbench.extend import (
    AnyMetric,
    Blocks,
    Comparison,
    Job,
    Notes,
    Pass,
    Phase,
    Suite,
    WithoutUserCodeFinding,
    catalogue,
    suite_tables,
    time_pass,
)

if TYPE_CHECKING:
    from modbench.extend import JobMaker


def run(job: Job, _metrics: list[AnyMetric]) -> Iterator[WithoutUserCodeFinding]:
    """Time one process as any other; yields its samples as a finding, since they belong to no cell of a table."""
    needed = catalogue.with_sources(job.comparison.metrics)
    metrics = [
        metric
        for metric in catalogue.metrics().values()
        if metric.measured_by == time_pass.PASS.name and metric.group == job.workload and metric.key in needed
    ]
    samples: dict[str, dict[str, dict[str, list[float]]]] = {}
    reasons, blocks = list[str](), dict[str, list[float]]()
    for made in time_pass.run(job, metrics):
        if isinstance(made, Blocks):
            blocks = made.columns
        elif made.status == "ok" and min(made.samples["wall_s"]) > 0:
            samples.setdefault(made.metric, {})[made.case] = made.samples
        else:
            reasons.append(f"{made.metric} of {made.case}: {made.reason or 'the clock is too coarse'}")
    yield WithoutUserCodeFinding(samples=samples, blocks=blocks, reason="; ".join(reasons) or None)


def jobs(maker: JobMaker, comparison: Comparison, metrics: Sequence[AnyMetric], process: int) -> Iterator[Job]:
    """One job for each group of metrics timed together, among the processes of the comparison.

    Before all or after all of them, a machine that drifts would look like a process that was changed.
    """
    alone = without_user_code(maker.suite, comparison) if process == maker.suite.protocol_size[0] // 2 else None
    if alone is None:
        return
    for group in dict.fromkeys(metric.group for metric in metrics if metric.measured_by == time_pass.PASS.name):
        flops = maker.timed_flops(alone, group)
        yield maker.job(f"{PASS.name}-{group}-{comparison.label}", alone, PASS.name, flops, workload=group)


def without_user_code(suite: Suite, comparison: Comparison) -> Comparison | None:
    """The comparison without the variants that run a user's code, with an A/A control; None where no such process is made.

    None is made at smoke effort, whose single process does not tell how much processes differ, and where the baseline itself runs
    a user's code. Of partial comparisons those that are timed first make it.
    """
    baseline, *_ = comparison.variants
    shipped = comparison.shipped
    if not suite.claims or baseline not in shipped or len(shipped) == len(comparison.variants):
        return None
    if comparison.partial and not all(each.times_first(suite, comparison) for each in suite_tables.in_use(suite)):
        return None
    aa_control = baseline.model_copy(update={"aa_control": True})
    return comparison.model_copy(update={"variants": (*shipped, aa_control), "aa_control": False})


PASS = Pass(
    name="without_user_code",
    run=run,
    jobs=jobs,
    notes=Notes,
    findings=WithoutUserCodeFinding,
    phase=Phase.TIME,
    order=time_pass.PASS.order,
    exclusive=True,
    timed=True,
    repeated=True,
    runs_for_every_case=True,
)
