"""Experts compute the tokens that they take, and no-ops compute nothing."""

from __future__ import annotations

from modbench.plugins.audit.experts import Layer, layers
from modbench.plugins.audit.model import Audited
from modbench.plugins.audit.probe import Probe
from modbench.plugins.audit.report import Finding, Number, deviates, holds

# Share of the rows of experts that may fill a shape.
FILLING = 0.2


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
    if audited.of == "mode" and (lost := _lost(found)) > FILLING:
        words = "{lost} of the rows that experts compute come to nothing: no-ops are computed"
        return deviates(words, "lost", lost=Number(value=lost, kind="share"), facts=facts)
    return holds("each expert computes {share} of tokens", "share", share=share, facts=facts)


def _lost(found: list[Layer]) -> float:
    """The share of computed rows that come to nothing, over the layers of which that is known."""
    known = [layer for layer in found if layer.taken is not None]
    computed = sum(sum(layer.rows) for layer in known)
    return 1 - sum(sum(layer.taken or ()) for layer in known) / computed if computed else 0.0


PROBE = Probe("experts skip", check, order=144, of=("moe", "mode"))
