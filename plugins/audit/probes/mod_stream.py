"""The stream passes every block once: nothing adds x to it again, or scales it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from modbench.plugins.audit.blocks import BlockCall
from modbench.plugins.audit.model import Audited
from modbench.plugins.audit.probe import Probe
from modbench.plugins.audit.report import Finding, Number, deviates, holds, unseen
from modbench.plugins.audit.routed import ALL_MOVED, Routed, need

# Factors of the stream: what a block with a norm adds does not grow with it, so that what grows is the stream itself.
FACTORS = (1e3, 2e3)
# Growth that is none, and the least likeness to the stream of growth that is the stream.
LITTLE, LIKE = 0.02, 0.999


def check(audited: Audited) -> Finding:
    """Make the stream large before each block, the choice as it was, and see what grows with it."""
    routed = need(audited)
    found = [_block(each) for each in routed if each.bypasses and bool(each.chosen_BT.any())]
    if not found:
        return unseen(ALL_MOVED)
    others = {number for number in range(len(audited.block_calls)) if number not in {each.number for each in routed}}
    found += [_dense(audited.block_calls[number]) for number in sorted(others)]
    seen = [each for each in found if each.verdict != "not observable"]
    return next((each for each in seen if each.verdict == "no"), (seen or found)[0])


def _block(routed: Routed) -> Finding:
    return _grown(routed.held, routed.call.x_BTD, routed.chosen_BT, "a chosen token's stream")


def _dense(call: BlockCall) -> Finding:
    """A block that is not routed. One that normalises its sum has no stream to scale."""
    found = _grown(call.again, call.x_BTD, torch.ones_like(call.x_BTD[..., 0], dtype=torch.bool), "the stream")
    return unseen("a norm after the sum") if (found.value or 1.0) < LITTLE else found


@torch.no_grad()
def _grown(again: Callable[[Tensor], Tensor], x_BTD: Tensor, chosen_BT: Tensor, whose: str) -> Finding:
    first, second = (again(factor * x_BTD) for factor in FACTORS)
    step = (FACTORS[1] - FACTORS[0]) * x_BTD
    grown = (second - first - step)[chosen_BT].double()
    step = step[chosen_BT].double()
    share = (grown.norm(dim=-1) / step.norm(dim=-1)).median()
    factor = (((second - first)[chosen_BT].double() * step).sum(-1) / step.square().sum(-1)).abs()
    if float(share) <= LITTLE:
        return holds(f"{whose} passes once", number="times", times=Number(value=1.0, kind="ratio"))
    like = torch.cosine_similarity(grown, step, dim=-1).abs().median()
    if float(like) < LIKE:
        return unseen("what its blocks add grows with the stream: a norm before them would show it")
    times = Number(value=float(factor.median()), kind="ratio")
    return deviates(f"{whose} is scaled, typically {{times}}", "times", times=times)


PROBE = Probe("stream passes once", check, order=116, of=("mod",))
