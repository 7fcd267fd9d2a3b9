"""Guard: does every call compute its output? A stored output would be timed as if it had been computed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modbench.harness.flops import counter

# A second call on the same tokens may save the making of a table, but not half of its work.
LEAST_SHARE = 0.5


def reused(module: nn.Module, tokens_BT: Tensor, other_BT: Tensor) -> str | None:
    """What is wrong, in words, if a call repeats an output instead of computing it; else None.

    Args:
        module: a language model; called five times.
        tokens_BT: tokens, which it may have seen before.
        other_BT: tokens that differ from them.
    """
    counts = [counter.forward(module, tokens_BT).total for _ in range(2)]
    if counts[1] < LEAST_SHARE * counts[0]:
        return f"cached output: a second call on the same tokens ran {counts[1]:.3g} FLOPs where the first ran {counts[0]:.3g}"
    with torch.no_grad():
        # The first output is copied: a model may return the same memory at every call.
        first = module(tokens_BT).clone()
        second = module(other_BT)
    if torch.equal(first, second):
        return "the same output for different tokens: it is stored, or the input is ignored"
    return None
