"""Audit the user's models, as `modbench audit` does: what a model computes, found by calls alone. Only where it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from modbench.harness.audit.card import AuditFinding, Card
from modbench.harness.core.contracts import AnyMetric
from modbench.harness.domain.case import Case, Comparison, UnitOfWork
from modbench.harness.domain.notes import Notes
from modbench.harness.domain.passes import Pass
from modbench.harness.domain.records import Missing
from modbench.harness.planning.units_of_work import UnitMaker
from modbench.harness.process import clocks
from modbench.harness.results.outcomes import attempt

# FLOPs that take about as long as the probes at the shape of an audit, on one thread.
WORK = 400e9


def run(unit: UnitOfWork, _metrics: list[AnyMetric]) -> Iterator[AuditFinding]:
    """Fill the card of the unit's model; yields a finding, with the reason if the model cannot be built or called."""
    (case,) = unit.comparison.arms
    with clocks.busy():
        card = attempt(partial(_card, case, unit.protocol.seed))
    yield AuditFinding(reason=card.reason) if isinstance(card, Missing) else AuditFinding(card=card)


def _card(case: Case, seed: int) -> Card:
    from modbench.harness.audit.audited import Audited
    from modbench.harness.audit.auditing import audit, small

    return audit(Audited(small(case), seed=seed))


def units(
    maker: UnitMaker, comparison: Comparison, _metrics: Sequence[AnyMetric], _launch: int
) -> Iterator[UnitOfWork]:
    """One unit for each arm that is a model of the user's, wherever it is measured; sizes of a sweep are one."""
    for case in comparison.arms:
        if case.is_user_model:
            alone = comparison.model_copy(update={"arms": (case,), "twin": False})
            arm = case.arm if maker.suite.isoflop is None else case.variant
            yield maker.unit(f"{PASS.name}-{arm}", alone, PASS.name, WORK)


PASS = Pass(name="audit", run=run, units=units, notes=Notes, findings=AuditFinding, order=9)
