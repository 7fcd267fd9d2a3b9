"""Deeper blocks compute fewer tokens than the first: what has left is not computed on."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from modbench.extend import evaluating, same_draws
from modbench.plugins.audit.model import Audited
from modbench.plugins.audit.probe import Probe
from modbench.plugins.audit.products import ProductWatch
from modbench.plugins.audit.report import Finding, Number, deviates, holds, unseen

# Share of tokens that a block must be spared.
LITTLE = 0.005
# Random weights are sure of nothing: the logits that confidence is read from are multiplied by these.
SHARPER = (1.0, 4.0, 16.0, 64.0)


def check(audited: Audited) -> Finding:
    """Count the rows of the weight of each block that met fewest, the model made surer and surer of its predictions."""
    calls = list(dict.fromkeys(call.path for call in audited.block_calls))
    if len(calls) < 2:
        return unseen("no blocks are seen: modules that map [B, T, D] to [B, T, D] would be blocks")
    n = audited.tokens().numel()
    tried = {factor: _computed(audited, factor, calls) for factor in SHARPER}
    factor = min(tried, key=lambda each: sum(tried[each]))
    computed = [min(1.0, rows / n) for rows in tried[factor]]
    first, last = (Number(value=share, kind="share") for share in (max(computed), min(computed)))
    facts = {"computed": computed, "logits_times": factor}
    if last.value > 1 - LITTLE:
        return deviates("all blocks compute all tokens, however sure it is", "last", last=last, facts=facts)
    return holds("blocks compute from {first} down to {last} of tokens", "last", first=first, last=last, facts=facts)


def _computed(audited: Audited, factor: float, paths: list[str]) -> list[int]:
    """Rows of the weight of each block that met fewest; a block that is not called has 0."""
    tokens_BT = audited.tokens()
    watch = ProductWatch(audited.module, partial(_sharpen, audited.vocab_size, factor))
    audited.reset()
    with same_draws(tokens_BT), torch.no_grad(), evaluating(audited.module), watch:
        audited.module(tokens_BT)
    met: dict[str, int] = {}
    for product in watch.products:
        met[product.name] = met.get(product.name, 0) + product.rows
    return [min((rows for name, rows in met.items() if name.startswith(f"{path}.")), default=0) for path in paths]


def _sharpen(vocab_size: int, factor: float, _number: int, result: Tensor) -> None:
    """Multiply logits."""
    if result.shape[-1] == vocab_size:
        result.mul_(factor)


PROBE = Probe("exited is not computed", check, order=162, of=("early_exit",))
