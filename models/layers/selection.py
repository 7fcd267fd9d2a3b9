"""Which tokens of each row a block processes, as places in the sequence.

Shapes: B batch, T tokens, k selected tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


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
