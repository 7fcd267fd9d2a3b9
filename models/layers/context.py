"""What every block gets beside its input in one forward pass: positions, padding, and how routers decide.

Shapes: B batch, T tokens, k selected tokens, R rows, C half a head's width, L layers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from modbench.harness.core.language_model import Decision


class Rotary(NamedTuple):
    """Cosines and sines of the tokens' positions: [1, T, 1, C] where all rows agree, else [B, T, 1, C]."""

    cos: Tensor
    sin: Tensor

    def rotate(self, x_BTHd: Tensor) -> Tensor:
        """Rotate pairs (i, i + C) of every head by the token's angles (Su et al. 2021, RoFormer, section 3.4).

        In float32, like the angles; the result has the format of x.
        """
        low_BTHC, high_BTHC = x_BTHd.chunk(2, dim=-1)
        cos, sin = self.cos, self.sin
        rotated = (
            torch.addcmul(low_BTHC * cos, high_BTHC, sin, value=-1).to(x_BTHd.dtype),
            torch.addcmul(high_BTHC * cos, low_BTHC, sin).to(x_BTHd.dtype),
        )
        return torch.cat(rotated, dim=-1)


class Observer:
    """Records the decisions of routers, and reverses single ones.

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


@dataclass(frozen=True)
class ForwardContext:
    """The tokens of one forward pass, and the rule by which routers decide.

    Attributes:
        rotary: rotary angles of the tokens' positions; None where positions are learned vectors.
        position_BT: their positions; [1, T] where all rows agree.
        lengths_B: real tokens of each row, the rest being padding on the right; None: no padding.
        lengths: the same on the host, where known: a cache keeps them.
        causal: routers decide token by token, without later tokens; else by top-k over the sequence.
        on_host: routers may ask the host how many tokens they selected (a synchronisation), to compute no more than those.
        prompt_B: tokens that a whole-input gate may read, for the models that have one.
        tokens_BT: the token ids, for exits that learn to predict the next one; None outside training.
        causal_bias: hides later keys from a piece of queries, on CPUs.
        calibrate: routers set their thresholds from these tokens before they decide.
        auxiliary: collects auxiliary losses while training; else None.
        observer: records what routers decide, and can reverse it; None where nothing is observed.
    """

    rotary: Rotary | None
    position_BT: Tensor
    lengths_B: Tensor | None = None
    lengths: list[int] | None = None
    causal: bool = False
    on_host: bool = True
    prompt_B: Tensor | None = None
    tokens_BT: Tensor | None = None
    causal_bias: Tensor | None = None
    calibrate: bool = False
    auxiliary: list[Tensor] | None = None
    observer: Observer | None = None

    @property
    def real_BT(self) -> Tensor | None:
        """False at padding; None where there is none."""
        if self.lengths_B is None:
            return None
        return torch.arange(self.position_BT.shape[1], device=self.lengths_B.device) < self.lengths_B[:, None]

    def of_tokens(self, indices_Bk: Tensor, count_B: Tensor | None, counts: list[int] | None = None) -> ForwardContext:
        """The context of selected tokens, of row b the first `count_B[b]`. They keep their own positions."""
        return replace(
            self,
            rotary=None if self.rotary is None else Rotary(*(_gather(table, indices_Bk) for table in self.rotary)),
            position_BT=_gather(self.position_BT, indices_Bk),
            lengths_B=count_B,
            lengths=counts,
        )

    def of_rows(self, row_R: Tensor | None, rows: list[int] | None = None) -> ForwardContext:
        """The context of some rows of the batch, `rows` on the host where known; None means all."""
        if row_R is None:
            return self

        def pick(x: Tensor) -> Tensor:
            return x if x.shape[0] == 1 else x[row_R]

        return replace(
            self,
            rotary=None if self.rotary is None else Rotary(*map(pick, self.rotary)),
            position_BT=pick(self.position_BT),
            lengths_B=None if self.lengths_B is None else self.lengths_B[row_R],
            lengths=None if self.lengths is None or rows is None else [self.lengths[row] for row in rows],
            prompt_B=None if self.prompt_B is None else self.prompt_B[row_R],
        )


def _gather(x: Tensor, indices_Bk: Tensor) -> Tensor:
    if x.shape[0] == 1:
        return x[0, indices_Bk]
    return x[torch.arange(indices_Bk.shape[0], device=x.device)[:, None], indices_Bk]


def check_lengths(lengths_B: Tensor, b: int, t: int) -> None:
    """Check that there is a length for each of b rows, between 1 and t.

    Raises:
        ValueError: if there is not.
    """
    if lengths_B.dtype != torch.int64 or list(lengths_B.shape) != [b]:
        raise ValueError(
            f"lengths must be int64 [{b}], one for each row; got {lengths_B.dtype} {list(lengths_B.shape)}"
        )
    # Values are checked only where that costs no synchronisation.
    if lengths_B.device.type == "cpu" and not torch.compiler.is_compiling():
        low, high = int(lengths_B.min()), int(lengths_B.max())
        if low < 1 or high > t:
            raise ValueError(f"lengths must lie between 1 and {t}, the tokens given; got {low} to {high}")
