"""Guard: does every call compute its answer anew? A stored output would be timed as if it had been computed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modbench.harness.flops import counter

# A second call on the same tokens may save a lazily made table, not half of its work.
LEAST_SHARE = 0.5


def reused(module: nn.Module, tokens_BT: Tensor, other_BT: Tensor) -> str | None:
    """What is wrong, in words: a call that repeats an answer instead of computing it; or None.

    Args:
        module: a language model; called five times.
        tokens_BT: tokens that it has seen before or not.
        other_BT: tokens that differ from them.
    """
    counts = [counter.forward(module, tokens_BT).total for _ in range(2)]
    if counts[1] < LEAST_SHARE * counts[0]:
        return f"cached output: a second call on the same tokens ran {counts[1]:.3g} FLOPs where the first ran {counts[0]:.3g}"
    with torch.no_grad():
        # The first answer is kept as it was: a model may hand out the same memory at every call.
        first = module(tokens_BT).clone()
        second = module(other_BT)
    if torch.equal(first, second):
        return "the same output for different tokens: it is stored, or the input is ignored"
    return None
