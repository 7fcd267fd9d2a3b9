"""Token by token it computes what one forward pass computes."""

from __future__ import annotations

import torch

from modbench.extend import Generation, check_decoding
from modbench.plugins.audit.decoding import why_not
from modbench.plugins.audit.model import Audited
from modbench.plugins.audit.probe import Probe
from modbench.plugins.audit.probes.alone import DRAWS
from modbench.plugins.audit.report import Finding, Number, deviates, holds, unseen


def check(audited: Audited) -> Finding:
    """Read prompts, then decode some tokens, and compare with forward passes without the future."""
    subject = audited.subject
    why = why_not(subject)
    if why:
        return unseen("{why}", why=why)
    if audited.draws_unheld:
        return unseen(DRAWS)
    with torch.no_grad(), audited.held_draws():
        found = check_decoding.compare(subject, Generation(subject).read)
    change = Number(value=found.nats, unit="nat")
    facts = {"tokens": found.steps}
    if found.within:
        words = "{n:decoded token} as in a forward pass" + ", random numbers held" * audited.draws
        return holds(words, n=found.steps, change=change, facts=facts)
    return deviates("decoded tokens are {change} off a forward pass", "change", change=change, facts=facts)


PROBE = Probe("decode equals forward", check, order=60)
