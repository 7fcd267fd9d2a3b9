"""Tokens that left early keep keys and values in deeper blocks, for tokens that come later."""

from __future__ import annotations

from modbench.harness.audit.audit_report import Finding, Number, reported, unseen
from modbench.harness.audit.audited import Audited
from modbench.harness.audit.probe import Probe
from modbench.harness.audit.probes.saves import places


def check(audited: Audited) -> Finding:
    """Count the places of a cache after a prompt, of one for every token in every block."""
    share = places(audited)
    if share is None:
        return unseen("it has no prefill and decode (docs/protocols.md), or a cache without tensors")
    words = "places for {share} of tokens in the cached blocks"
    return reported(words, "share", share=Number(value=share, kind="share"))


PROBE = Probe("cache after an exit", check, order=160, of=("early_exit",))
