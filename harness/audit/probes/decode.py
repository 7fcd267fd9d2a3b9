"""Token by token it computes what one forward pass computes."""

from __future__ import annotations

import torch

from modbench.harness.audit.audited import Audited
from modbench.harness.audit.card import Finding, Number, deviates, holds, unseen
from modbench.harness.audit.probe import Probe
from modbench.harness.audit.probes.alone import DRAWS
from modbench.harness.core.errors import Unmeasured
from modbench.harness.subject import decode_guard
from modbench.harness.subject.generation import Generation


def check(audited: Audited) -> Finding:
    """Read prompts, then decode some tokens, and compare with forward passes without the future."""
    subject = audited.subject
    why = _why_not(audited)
    if why:
        return unseen("{why}", why=why)
    if audited.draws:
        return unseen(DRAWS)
    with torch.no_grad():
        found = decode_guard.compare(subject, Generation(subject).read)
    change = Number(value=found.nats, unit="nat")
    facts = {"tokens": found.steps}
    if found.within:
        return holds("{n:decoded token} as in a forward pass", n=found.steps, change=change, facts=facts)
    return deviates("decoded tokens are {change} off a forward pass", "change", change=change, facts=facts)


def _why_not(audited: Audited) -> str | None:
    """Why it cannot generate; None if it can."""
    subject, parts = audited.subject, audited.parts
    if audited.case.config.bidirectional:
        return "a bidirectional model classifies: it cannot generate"
    if not parts.has("prefill", "decode"):
        return "it has no prefill and decode (docs/protocols.md)"
    try:
        return subject.language_model.why_no_decode() if parts.has("why_no_decode") else None
    except Unmeasured as error:
        return str(error)


PROBE = Probe("decode equals forward", check, order=60)
