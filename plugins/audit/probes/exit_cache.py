"""Tokens that left early keep keys and values in deeper blocks, for tokens that come later."""

from __future__ import annotations

from modbench.plugins.audit.model import Audited
from modbench.plugins.audit.probe import Probe
from modbench.plugins.audit.probes.saves import places
from modbench.plugins.audit.report import Finding, Number, reported, unseen


def check(audited: Audited) -> Finding:
    """Count the places of a cache after a prompt, of one for every token in every block."""
    share = places(audited)
    if share is None:
        return unseen("it has no prefill and decode (docs/your-model.md), or a cache without tensors")
    words = "places for {share} of tokens in the cached blocks"
    return reported(words, "share", share=Number(value=share, kind="share"))


PROBE = Probe("cache after an exit", check, order=160, of=("early_exit",))
