"""What routers decided in one call, for those who want to look: recorded on request, never while training or timing.

Shapes: B batch, T tokens, E experts, L layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class Decision:
    """One router's word on one batch.

    T is the sequence's length; of the experts inside a token-routed block it is the number of tokens that passed there.

    Attributes:
        layer: index of the block, from 0.
        score_BT: what it decided by, float32: the router's score, or the largest probability of a real expert.
        chosen_BT: True where the token passed (of experts: where at least one takes it).
        weight_BT: what multiplied the block's output; None where nothing did.
        predicted_BT: what the causal rule says of the same input, where the decision itself was by top-k; None where the
            decision was causal, or there is no causal rule.
        taken_BET: of experts, True where the expert takes the token; None of a token router.
    """

    layer: int
    score_BT: Tensor
    chosen_BT: Tensor
    weight_BT: Tensor | None = None
    predicted_BT: Tensor | None = None
    taken_BET: Tensor | None = None


class Observed(NamedTuple):
    """A call that was watched.

    Attributes:
        logits: as `forward` returns them.
        decisions: of every router, first block first.
        depth_B: blocks that each row ran, where a gate chose for the whole input; else None.
    """

    logits: Tensor
    decisions: list[Decision]
    depth_B: list[int] | None


class Watch:
    """Takes decisions, and turns some over: what would have become of the loss?

    Args:
        flip_LBT: True where the decision of block l on a token is to be reversed; None reverses nothing.
    """

    def __init__(self, flip_LBT: Tensor | None = None) -> None:
        self.decisions: list[Decision] = []
        self._flip_LBT = flip_LBT

    def flips(self, layer: int) -> Tensor | None:
        """Decisions [B, T] of this block to reverse, if any."""
        if self._flip_LBT is None or not bool(self._flip_LBT[layer].any()):
            return None
        return self._flip_LBT[layer]

    def take(self, decision: Decision) -> None:
        """Keep one."""
        self.decisions.append(decision)


def mask_of(index_Bk: Tensor, meant_Bk: Tensor | None, t: int) -> Tensor:
    """True [B, T] at the places of an index list."""
    mask_BT = torch.zeros(index_Bk.shape[0], t + 1, dtype=torch.bool, device=index_Bk.device)
    place_Bk = index_Bk if meant_Bk is None else index_Bk.masked_fill(~meant_Bk, t)
    return mask_BT.scatter(1, place_Bk, value=True)[:, :t]
