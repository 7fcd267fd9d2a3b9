"""Validity check: does every call compute its output? A stored output would be timed as if it had been computed."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from modbench.harness.planning.flops import counter

# A second call on the same tokens may save the making of a table, but not half of its work.
LEAST_SHARE = 0.5
# Seed of what a model draws in a call, so that calls differ in their input alone.
SEED = 7


def reused(module: nn.Module, tokens_BT: Tensor, other_BT: Tensor) -> str | None:
    """What is wrong, in words, if a call repeats an output instead of computing it; else None.

    Args:
        module: a language model; called four times.
        tokens_BT: tokens, which it may have seen before.
        other_BT: tokens that differ from them.
    """
    module.eval()
    with torch.no_grad():
        if found := kept(module, tokens_BT):
            return found
        # The first output is copied: a model may return the same memory at every call.
        first = module(tokens_BT).clone()
        second = module(other_BT)
    if torch.equal(first, second):
        return "the same output for different tokens: it is stored, or the input is ignored"
    return None


def kept(call: Callable[[Tensor], object], input_: Tensor) -> str | None:
    """What is wrong, in words, if a second call on the same input computes less than half of the first; else None."""
    first, second = (flops_of(call, input_) for _ in range(2))
    if second >= LEAST_SHARE * first:
        return None
    return f"cached output: a second call on the same input ran {second:.3g} FLOPs where the first ran {first:.3g}"


def flops_of(call: Callable[[Tensor], object], input_: Tensor) -> int:
    """FLOPs of a call, which draws the same numbers each time."""
    with same_draws(input_):
        return counter.count(nn.Identity(), partial(call, input_)).total


def drawn_from(timed: Tensor) -> Tensor:
    """Another input of the same kind: tokens or numbers, drawn from a tensor's own.

    Its address is one at which nothing was given: where an earlier tensor lay, another may lie by now.
    """
    drawn = torch.randint(timed.numel(), (2, *timed.shape), device=timed.device)
    return timed.detach().flatten()[drawn][1]


@contextlib.contextmanager
def same_draws(tokens_BT: Tensor) -> Iterator[None]:
    """Let a call draw the same random numbers as every other call in such a block; afterwards as if it had drawn none."""
    # What a model draws by numpy's old functions, it draws from their one state.
    drawn, drawn_by_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  # as above
    try:
        with torch.random.fork_rng([tokens_BT.device] if tokens_BT.is_cuda else []):
            torch.manual_seed(SEED)
            random.seed(SEED)
            np.random.seed(SEED)  # noqa: NPY002  # as above
            yield
    finally:
        random.setstate(drawn)
        np.random.set_state(drawn_by_numpy)  # noqa: NPY002  # as above
