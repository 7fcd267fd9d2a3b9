"""Audit the user's models, as `modbench audit` does: what a model computes, found by calls alone. Only where it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from modbench.extend import (
    AnyMetric,
    Case,
    Comparison,
    Job,
    JobMaker,
    Label,
    Missing,
    Notes,
    Pass,
    attempt,
    clocks,
    human_duration,
)
from modbench.plugins.audit.report import AUDIT, AuditFinding, AuditReport

# FLOPs that take about as long as the probes at the shape of an audit, on one thread.
WORK = 400e9


def run(job: Job, _metrics: list[AnyMetric]) -> Iterator[AuditFinding]:
    """Fill the audit report of the job's model; yields a finding, with the reason if the model cannot be built or called."""
    (case,) = job.comparison.variants
    with clocks.busy():
        card = attempt(partial(_card, case, job.protocol.seed))
    yield AuditFinding(reason=card.reason) if isinstance(card, Missing) else AuditFinding(card=card)


def _card(case: Case, seed: int) -> AuditReport:
    from modbench.plugins.audit.model import Audited
    from modbench.plugins.audit.probing import audit, small

    return audit(Audited(small(case), seed=seed))


def jobs(maker: JobMaker, comparison: Comparison, _metrics: Sequence[AnyMetric], _process: int) -> Iterator[Job]:
    """One job for each variant that is a model of the user's, wherever it is measured; sizes of a sweep are one."""
    for case in comparison.variants:
        if case.is_user_model:
            alone = comparison.model_copy(update={"variants": (case,), "aa_control": False})
            yield maker.job(f"{PASS.name}-{case.family}", alone, PASS.name, WORK)


def labelled(found: AuditFinding) -> dict[Label, str]:
    """Sentences of the audit report by the label that they bring, most important first."""
    from modbench.plugins.audit.sentences import by_label  # a process that measures does without reports

    return {} if found.card is None else by_label(found.card)


def forecast(planned: Sequence[tuple[Job, float]]) -> dict[str, Any]:
    """The variants that are audited, and the seconds that this takes."""
    return {
        "audits": [job.comparison.variants[0].variant for job, _ in planned],
        "audits_s": sum(seconds for _, seconds in planned),
    }


def forecast_in_words(told: Mapping[str, Any]) -> list[str]:
    """The same in a sentence; none where nothing is audited."""
    named, took = ", ".join(told["audits"]), human_duration(told["audits_s"])
    return [f"Audited in a process of its own, about {took} of the run: {named}."] if named else []


PASS = Pass(
    name=AUDIT,
    run=run,
    jobs=jobs,
    notes=Notes,
    findings=AuditFinding,
    labels=frozenset({Label.ZEROES, Label.ROWS_DEPEND, Label.RANDOM, Label.DEVIATES}),
    labelled=labelled,
    forecast=forecast,
    forecast_in_words=forecast_in_words,
    order=9,
)
