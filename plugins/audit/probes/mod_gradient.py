"""Gradients of the language-model loss reach the router, so that it learns what to choose."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from modbench.extend import same_draws
from modbench.plugins.audit.model import Audited
from modbench.plugins.audit.probe import Probe
from modbench.plugins.audit.report import Finding, Number, deviates, holds, unseen
from modbench.plugins.audit.routed import NO_ROUTER, decided_by_no_weight, need


def check(audited: Audited) -> Finding:
    """Take one backward pass of the cross-entropy alone, in training mode, on a copy; and look at the routers' gradients."""
    owned = {
        id(dict(each.call.module.named_parameters())[each.products[at].name])
        for each in need(audited)
        for at in each.candidates
    }
    names = {name for name, p in audited.module.named_parameters() if id(p) in owned}
    if not names and decided_by_no_weight(audited):
        return deviates("no weight decides, so that the loss reaches {some:router}", "some", some=0)
    if not names:
        return unseen(NO_ROUTER)
    module = audited.another().train()
    tokens_BT = audited.tokens(4)
    with same_draws(tokens_BT), torch.enable_grad():
        logits_BTV = module(tokens_BT)
        F.cross_entropy(logits_BTV.flatten(0, 1).float(), audited.subject.targets(tokens_BT).flatten()).backward()
    sizes = {name: 0.0 if p.grad is None else float(p.grad.double().norm()) for name, p in module.named_parameters()}
    reached = {name: size for name, size in sizes.items() if name in names and size > 0}
    whole = sum(size**2 for size in sizes.values()) ** 0.5 or 1.0
    share = Number(value=sum(size**2 for size in reached.values()) ** 0.5 / whole, kind="share")
    facts = {"routers": len(names), "reached": len(reached)}
    if len(reached) == len(names):
        return holds("the loss reaches {n:router}", "share", n=len(names), share=share, facts=facts)
    words = "the loss reaches {some} of {n:router}"
    return deviates(words, "some", some=len(reached), n=len(names), facts=facts)


PROBE = Probe("loss reaches routers", check, order=124, of=("mod",))
