"""Logits moved when later tokens were changed: the model is not autoregressive as measured."""

from __future__ import annotations

from modbench.harness.core.contracts import Doubt
from modbench.harness.results.evidence import NOT_AUTOREGRESSIVE, Evidence

CAUSAL = ("prefill", "decode")


def finds(evidence: Evidence) -> str | None:
    """What the guard saw, before training or after. Generation and `loss/val_causal` route without the future."""
    if not evidence.case.own and (evidence.metric.workload in CAUSAL or evidence.metric.key == "loss/val_causal"):
        return None
    found = [evidence.counted.get("causality") or {}, *evidence.note("causality")]
    moved = [each for each in found if each.get("reads_future")]
    if not moved:
        return None
    worst = max(each["change"] for each in moved)
    return f"{NOT_AUTOREGRESSIVE}: earlier log-probabilities moved by up to {worst:.2g} nats when later tokens changed"


DOUBT = Doubt(
    finds=finds,
    advice="Its loss is not comparable with a causal one: `loss/val_causal` is, where the model can route without the future.",
    label=NOT_AUTOREGRESSIVE,
)
