"""Experts compute the tokens that they take, and no-ops compute nothing."""

from __future__ import annotations

from modbench.harness.audit.audited import Audited
from modbench.harness.audit.card import Finding, Number, deviates, holds
from modbench.harness.audit.experts import layers
from modbench.harness.audit.probe import Probe


def check(audited: Audited) -> Finding:
    """Count the rows that each expert computes: with all tokens for each, nothing is chosen."""
    n, found = audited.tokens().numel(), layers(audited)
    computed = [sum(layer.rows) / (n * len(layer.rows)) for layer in found]
    share = Number(value=sum(computed) / len(computed), kind="share")
    facts = {
        "layers": [{"path": layer.path, "rows": list(layer.rows), "taken": list(layer.taken or ())} for layer in found]
    }
    if all(min(layer.rows) >= n for layer in found):
        return deviates("each expert computes {share} of tokens", "share", share=share, facts=facts)
    return holds("each expert computes {share} of tokens", "share", share=share, facts=facts)


PROBE = Probe("experts skip", check, order=144, of=("moe", "mode"))
