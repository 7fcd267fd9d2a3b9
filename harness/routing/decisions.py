"""The decisions of a module's routers: what `observe` returns, as this room reads it.

Shapes: B batch, T tokens, E experts, L layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn


class Decision(Protocol):
    """One router's decisions on one batch. `models/layers/decisions.py` describes the attributes."""

    layer: int
    score_BT: Tensor
    chosen_BT: Tensor
    weight_BT: Tensor | None
    predicted_BT: Tensor | None
    taken_BET: Tensor | None


class Observed(Protocol):
    """One forward pass: logits, the decisions of every router, and the blocks that each row ran if a gate chose them."""

    logits: Tensor
    decisions: Sequence[Decision]
    depth_B: Sequence[int] | None


def observe(module: nn.Module, tokens_BT: Tensor, **how: Tensor | bool) -> Observed:
    """One forward pass of a module that has `observe`.

    Args:
        module: with `observe(tokens_BT, lengths_B=None, *, causal=..., prompt_B=..., flip_LBT=...)`.
        tokens_BT: int64.
        how: keywords of `observe`.

    Raises:
        ValueError: if the module cannot route as it is asked to.
    """
    found: Observed = module.observe(tokens_BT, **how)  # type: ignore[operator]  # a method, to torch a tensor or a module
    return found
