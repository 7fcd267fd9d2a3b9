"""One trip of a batch through the stack: what a block must know beside its input.

Shapes: B batch, T tokens, k chosen tokens, C half a head's width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from modbench.models.layers.decisions import Watch


class Rotary(NamedTuple):
    """Cosines and sines of the positions at hand: [1, T, 1, C] where all rows agree, else [B, T, 1, C]."""

    cos: Tensor
    sin: Tensor

    def rows(self, index_BT: Tensor) -> Rotary:
        """The angles of chosen tokens, which so keep their own positions instead of being renumbered."""
        return Rotary(_rows(self.cos, index_BT), _rows(self.sin, index_BT))

    def rotate(self, x_BTHd: Tensor) -> Tensor:
        """Rotate pairs (i, i + C) of every head by the token's angles (Su et al. 2021, RoFormer, section 3.4)."""
        low_BTHC, high_BTHC = x_BTHd.chunk(2, dim=-1)
        cos, sin = self.cos, self.sin
        turned = (
            torch.addcmul(low_BTHC * cos, high_BTHC, sin, value=-1),
            torch.addcmul(high_BTHC * cos, low_BTHC, sin),
        )
        return torch.cat(turned, dim=-1)


@dataclass(frozen=True)
class Trip:
    """The tokens of one call, and the rule by which routers decide.

    Attributes:
        rotary: angles of the tokens' positions.
        position_BT: their positions; [1, T] where all rows agree.
        lengths_B: tokens of each row that are real, the rest being pads on the right; None: all are.
        causal: routers decide token by token, without the future; else by top-k over the sequence.
        on_host: routers may ask the host how many tokens passed (a synchronisation) to compute no more than those.
        prompt_B: tokens that a whole-input gate may read, for the models that have one.
        tokens_BT: what the tokens are, for exits that are taught to predict the next one; None outside training.
        later: bias that hides later keys from a piece of queries, for CPUs.
        calibrate: routers take their thresholds from these tokens before they decide.
        auxiliary: takes the losses of routers while training; None outside.
        watch: takes what routers decide, and may turn it over; None where nobody looks.
    """

    rotary: Rotary
    position_BT: Tensor
    lengths_B: Tensor | None = None
    causal: bool = False
    on_host: bool = True
    prompt_B: Tensor | None = None
    tokens_BT: Tensor | None = None
    later: Tensor | None = None
    calibrate: bool = False
    auxiliary: list[Tensor] | None = None
    watch: Watch | None = None

    @property
    def real_BT(self) -> Tensor | None:
        """True where a token is no pad; None where there are no pads."""
        if self.lengths_B is None:
            return None
        return torch.arange(self.position_BT.shape[1], device=self.lengths_B.device) < self.lengths_B[:, None]

    def with_prompt(self, prompt_B: Tensor) -> Trip:
        """The same trip with prompts of these lengths."""
        return replace(self, prompt_B=prompt_B)

    def calibrating(self) -> Trip:
        """The same trip, on which routers take their thresholds."""
        return replace(self, calibrate=True)

    def of(self, chosen: Chosen) -> Trip:
        """The trip of the chosen tokens alone."""
        i_Bk = chosen.index_Bk
        return replace(
            self,
            rotary=self.rotary.rows(i_Bk),
            position_BT=_rows(self.position_BT, i_Bk),
            lengths_B=chosen.count_B,
        )

    def batch_rows(self, row_R: Tensor | None) -> Trip:
        """The trip of some rows of the batch; None means all."""
        if row_R is None:
            return self

        def pick(x: Tensor) -> Tensor:
            return x if x.shape[0] == 1 else x[row_R]

        return replace(
            self,
            rotary=Rotary(pick(self.rotary.cos), pick(self.rotary.sin)),
            position_BT=pick(self.position_BT),
            lengths_B=None if self.lengths_B is None else self.lengths_B[row_R],
            prompt_B=None if self.prompt_B is None else self.prompt_B[row_R],
        )


class Chosen(NamedTuple):
    """Tokens that pass, per row in ascending order, so that causal attention among them stays causal.

    Attributes:
        index_Bk: their places in the sequence; past a row's count any place, whose result is thrown away.
        count_B: how many of the k are meant; None: all.
    """

    index_Bk: Tensor
    count_B: Tensor | None

    @property
    def meant_Bk(self) -> Tensor | None:
        """True for the tokens that are meant; None where all are."""
        if self.count_B is None:
            return None
        return torch.arange(self.index_Bk.shape[1], device=self.index_Bk.device) < self.count_B[:, None]


def top_k(r_BT: Tensor, k: int, k_B: Tensor | None = None, real_BT: Tensor | None = None) -> Chosen:
    """The k highest scores of each row; of row b only the `k_B[b]` highest, and never a pad."""
    if k_B is None or real_BT is None:
        return Chosen(r_BT.topk(k, dim=-1, sorted=False).indices.sort(dim=-1).values, None)
    t = r_BT.shape[1]
    i_Bk = r_BT.masked_fill(~real_BT, -torch.inf).topk(k, dim=-1).indices
    meant_Bk = torch.arange(k, device=r_BT.device) < k_B[:, None]
    return _ascending(i_Bk.masked_fill(~meant_Bk, t), t, k_B)


def those(m_BT: Tensor, k: int) -> Chosen:
    """The tokens where the mask is true: at most k in each row."""
    t = m_BT.shape[1]
    index_BT = torch.arange(t, device=m_BT.device).expand_as(m_BT).masked_fill(~m_BT, t)
    return _ascending(index_BT, t, m_BT.sum(1), k)


def _ascending(index: Tensor, t: int, count_B: Tensor, k: int | None = None) -> Chosen:
    """Sort, those marked with t (not meant) last; then give these a place that exists."""
    return Chosen(index.sort(dim=-1).values[:, :k].clamp(max=t - 1), count_B)


def _rows(x: Tensor, index_BT: Tensor) -> Tensor:
    if x.shape[0] == 1:
        return x[0, index_BT]
    return x[torch.arange(index_BT.shape[0], device=x.device)[:, None], index_BT]
