"""Logits changed when later tokens were changed: the model is not autoregressive as measured."""

from __future__ import annotations

from modbench.harness.core.contracts import Doubt
from modbench.harness.core.labels import Label
from modbench.harness.results.evidence import Evidence
from modbench.harness.results.notes.training import TrainNotes

CAUSAL = ("prefill", "decode")


def finds(evidence: Evidence) -> str | None:
    """What the guard found, before or after training. Generation and `loss/val_causal` route without the future."""
    if not evidence.case.own and (evidence.metric.workload in CAUSAL or evidence.metric.key == "loss/val_causal"):
        return None
    found = [evidence.counted.causality, *(notes.causality for notes in evidence.notes(TrainNotes))]
    moved = [each.change or 0.0 for each in found if each is not None and each.reads_future]
    if not moved:
        return None
    finding = f"earlier log-probabilities moved by up to {max(moved):.2g} nats when later tokens changed"
    return f"{Label.NOT_AUTOREGRESSIVE}: {finding}"


DOUBT = Doubt(
    finds=finds,
    advice="Its loss is not comparable with a causal one: `loss/val_causal` is, where the model can route without the future.",
    label=Label.NOT_AUTOREGRESSIVE,
)
