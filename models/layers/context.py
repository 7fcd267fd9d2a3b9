"""What a block is given beside its input: which tokens these are.

`ForwardContext` has positions, padding, and how routers decide; `Selection` the tokens that a routed block processes.

Shapes: B batch, T tokens, k selected tokens, R rows of a step, L layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from modbench.harness.core.language_model import Decision
from modbench.models.layers.kernels import Rotary


class Selection(NamedTuple):
    """Tokens that a block processes, ascending in each row, so that causal attention among them stays causal.

    Attributes:
        indices_Bk: their places in the sequence; past a row's count any place, whose result is discarded.
        count_B: valid indices of each row, which come first; None: all k.
        counts: the same on the host, where known.
    """

    indices_Bk: Tensor
    count_B: Tensor | None
    counts: list[int] | None = None

    @property
    def valid_Bk(self) -> Tensor | None:
        """True for the indices that count; None where all do."""
        if self.count_B is None:
            return None
        return torch.arange(self.indices_Bk.shape[1], device=self.indices_Bk.device) < self.count_B[:, None]

    def mask(self, t: int) -> Tensor:
        """True [B, T] at the selected tokens."""
        b, valid_Bk = self.indices_Bk.shape[0], self.valid_Bk
        mask_BT = torch.zeros(b, t + 1, dtype=torch.bool, device=self.indices_Bk.device)
        column_Bk = self.indices_Bk if valid_Bk is None else self.indices_Bk.masked_fill(~valid_Bk, t)
        return mask_BT.scatter(1, column_Bk, value=True)[:, :t]


def from_mask(mask_BT: Tensor, *, on_host: bool = True) -> Selection:
    """The tokens where the mask is true; with `on_host` it asks once how many, and computes no more than the most."""
    t = mask_BT.shape[1]
    indices_BT = torch.arange(t, device=mask_BT.device).expand_as(mask_BT).masked_fill(~mask_BT, t)
    count_B = mask_BT.sum(1)
    counts = count_B.tolist() if on_host else None
    k = max(counts) if counts else t
    return Selection(indices_BT.sort(dim=-1).values[:, :k].clamp(max=t - 1), count_B, counts)


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
        decisions: collects what routers decide; None where nothing is observed.
        flip_LBT: True where the decision of block l on a token is to be reversed; None reverses nothing.
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
    decisions: list[Decision] | None = None
    flip_LBT: Tensor | None = None

    @property
    def real_BT(self) -> Tensor | None:
        """False at padding; None where there is none."""
        if self.lengths_B is None:
            return None
        return torch.arange(self.position_BT.shape[1], device=self.lengths_B.device) < self.lengths_B[:, None]

    def of_tokens(self, chosen: Selection) -> ForwardContext:
        """The context of selected tokens. They keep their own positions."""

        def pick(x: Tensor) -> Tensor:
            if x.shape[0] == 1:
                return x[0, chosen.indices_Bk]
            return x[torch.arange(len(chosen.indices_Bk), device=x.device)[:, None], chosen.indices_Bk]

        return self._picked(pick, lengths_B=chosen.count_B, lengths=chosen.counts)

    def of_rows(self, row_R: Tensor | None, rows: list[int] | None = None) -> ForwardContext:
        """The context of some rows of the batch, `rows` on the host where known; None means all."""
        if row_R is None:
            return self
        return self._picked(
            lambda x: x if x.shape[0] == 1 else x[row_R],
            lengths_B=None if self.lengths_B is None else self.lengths_B[row_R],
            lengths=None if self.lengths is None or rows is None else [self.lengths[row] for row in rows],
            prompt_B=None if self.prompt_B is None else self.prompt_B[row_R],
        )

    def _picked(self, pick: Callable[[Tensor], Tensor], **lengths: Any) -> ForwardContext:  # noqa: ANN401  # fields of this class
        """The context of those positions that `pick` takes of them, with these lengths."""
        rotary = None if self.rotary is None else Rotary(*map(pick, self.rotary))
        return replace(self, rotary=rotary, position_BT=pick(self.position_BT), **lengths)


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
