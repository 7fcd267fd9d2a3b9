"""How it routes where later tokens are not known."""

from __future__ import annotations

import torch

from modbench.plugins.audit.model import Audited
from modbench.plugins.audit.probe import Probe
from modbench.plugins.audit.report import Finding, Number, reported
from modbench.plugins.audit.routed import need


def check(audited: Audited) -> Finding:
    """Compare the choice of `forward` with that of `causal=True`; without it, see whether later tokens move the choice."""
    routed = need(audited)
    tokens_BT = audited.tokens()
    numbers = [each.number for each in routed]
    usual = torch.stack([each.chosen_BT for each in routed])
    if audited.parts.accepts("forward", "causal"):
        calls = audited.blocks_on(tokens_BT, causal=True)
        ruled = torch.stack([calls[number].moved_BT for number in numbers])
        share = Number(value=float(ruled.double().mean()), kind="share")
        agree = Number(value=float((ruled == usual).double().mean()), kind="share")
        words = "with causal=True {share} pass; {agree} of choices agree"
        return reported(words, "share", share=share, agree=agree, facts={"rule": "causal=True"})
    other_BT, half = tokens_BT.clone(), tokens_BT.shape[1] // 2
    other_BT[:, half:] = audited.tokens(5)[:, half:]
    calls = audited.blocks_on(other_BT)
    later = torch.stack([calls[number].moved_BT for number in numbers])
    moved = float((later != usual)[..., :half].double().mean())
    share = Number(value=moved, kind="share")
    if moved:
        words = "later tokens move {share} of choices; no causal=True"
        return reported(words, "share", share=share, facts={"rule": None})
    return reported("its choice never reads later tokens", "share", share=share, facts={"rule": "itself"})


PROBE = Probe("causal rule", check, order=126, of=("mod",))
