"""Token by token it computes what one forward pass computes."""

from __future__ import annotations

import torch

from modbench.harness.audit.audit_report import Finding, Number, deviates, holds, unseen
from modbench.harness.audit.audited import Audited
from modbench.harness.audit.decoding import why_not
from modbench.harness.audit.probe import Probe
from modbench.harness.audit.probes.alone import DRAWS
from modbench.harness.subject import decode_guard
from modbench.harness.subject.generation import Generation


def check(audited: Audited) -> Finding:
    """Read prompts, then decode some tokens, and compare with forward passes without the future."""
    subject = audited.subject
    why = why_not(subject)
    if why:
        return unseen("{why}", why=why)
    if audited.draws_unheld:
        return unseen(DRAWS)
    with torch.no_grad(), audited.held_draws():
        found = decode_guard.compare(subject, Generation(subject).read)
    change = Number(value=found.nats, unit="nat")
    facts = {"tokens": found.steps}
    if found.within:
        words = "{n:decoded token} as in a forward pass" + ", random numbers held" * audited.draws
        return holds(words, n=found.steps, change=change, facts=facts)
    return deviates("decoded tokens are {change} off a forward pass", "change", change=change, facts=facts)


PROBE = Probe("decode equals forward", check, order=60)
