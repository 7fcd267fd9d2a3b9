"""Audit the user's models, as `modbench audit` does: what a model computes, found by calls alone. Only where it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from modbench.harness.audit.audit_report import AuditFinding, AuditReport
from modbench.harness.core.contracts import AnyMetric
from modbench.harness.domain.case import Case, Comparison, Job
from modbench.harness.domain.notes import Notes
from modbench.harness.domain.passes import Pass
from modbench.harness.domain.records import Missing
from modbench.harness.planning.jobs import JobMaker
from modbench.harness.process import clocks
from modbench.harness.results.outcomes import attempt

# FLOPs that take about as long as the probes at the shape of an audit, on one thread.
WORK = 400e9


def run(job: Job, _metrics: list[AnyMetric]) -> Iterator[AuditFinding]:
    """Fill the card of the job's model; yields a finding, with the reason if the model cannot be built or called."""
    (case,) = job.comparison.variants
    with clocks.busy():
        card = attempt(partial(_card, case, job.protocol.seed))
    yield AuditFinding(reason=card.reason) if isinstance(card, Missing) else AuditFinding(card=card)


def _card(case: Case, seed: int) -> AuditReport:
    from modbench.harness.audit.audited import Audited
    from modbench.harness.audit.auditing import audit, small

    return audit(Audited(small(case), seed=seed))


def jobs(maker: JobMaker, comparison: Comparison, _metrics: Sequence[AnyMetric], _process: int) -> Iterator[Job]:
    """One job for each variant that is a model of the user's, wherever it is measured; sizes of a sweep are one."""
    for case in comparison.variants:
        if case.is_user_model:
            alone = comparison.model_copy(update={"variants": (case,), "aa_control": False})
            variant = case.variant if maker.suite.isoflop is None else case.family
            yield maker.job(f"{PASS.name}-{variant}", alone, PASS.name, WORK)


PASS = Pass(name="audit", run=run, jobs=jobs, notes=Notes, findings=AuditFinding, order=9)
