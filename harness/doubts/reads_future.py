"""Logits changed when later tokens were changed: the model is not autoregressive as measured."""

from __future__ import annotations

from modbench.harness.core.contracts import GENERATION
from modbench.harness.core.labels import Label
from modbench.harness.domain.evidence import Doubt, Evidence
from modbench.harness.domain.notes import TrainNotes


def finds(evidence: Evidence) -> str | None:
    """What the guard found, before or after training. Generation and `loss/val_causal` route without the future.

    A user's model that does not decode as its forward pass computes has no cell of generation, and the guard's finding about
    `loss/val_causal` is that of the routing by which it was measured.
    """
    causal_loss = evidence.metric.key == "loss/val_causal"
    if evidence.metric.workload in GENERATION or (causal_loss and not evidence.case.own):
        return None
    counted = None if causal_loss else evidence.counted.causality
    found = [counted, *(notes.causality for notes in evidence.notes(TrainNotes))]
    moved = [each.change or 0.0 for each in found if each is not None and each.reads_future]
    if not moved:
        audited = None if causal_loss else evidence.audited.get(Label.NOT_AUTOREGRESSIVE)
        return f"{Label.NOT_AUTOREGRESSIVE}: {audited}" if audited else None
    finding = f"earlier log-probabilities moved by up to {max(moved):.2g} nats when later tokens changed"
    return f"{Label.NOT_AUTOREGRESSIVE}: {finding}"


DOUBT = Doubt(
    finds=finds,
    advice="Its loss is not comparable with a causal one: `loss/val_causal` is, where the model can route without the future.",
    label=Label.NOT_AUTOREGRESSIVE,
)
