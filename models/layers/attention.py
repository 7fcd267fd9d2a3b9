"""Causal self-attention with rotary positions and grouped queries.

Shapes: B batch, T tokens, D width, H query heads, K key/value heads, C half a head's width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modbench.harness.config import ModelConfig


class Rotary(NamedTuple):
    """Cosines and sines of the positions at hand: [1, T, 1, C] for all tokens, [B, T, 1, C] for chosen ones."""

    cos: Tensor
    sin: Tensor

    def rows(self, index_BT: Tensor) -> Rotary:
        """The rows of chosen tokens, which so keep their own positions instead of being renumbered."""
        return Rotary(self.cos[0, index_BT], self.sin[0, index_BT])

    def rotate(self, x_BTHd: Tensor) -> Tensor:
        """Rotate pairs (i, i + C) of every head by the token's angles (Su et al. 2021, RoFormer, section 3.4)."""
        low_BTHC, high_BTHC = x_BTHd.chunk(2, dim=-1)
        cos, sin = self.cos, self.sin
        return torch.cat((low_BTHC * cos - high_BTHC * sin, high_BTHC * cos + low_BTHC * sin), dim=-1)


class RotaryTable(nn.Module):
    """Angles of all positions, computed once: base 10,000, half-size tables."""

    cos_TC: Tensor
    sin_TC: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        half = config.d_model // config.n_heads // 2
        frequency_C = 10_000.0 ** (-torch.arange(half, dtype=torch.float32) / half)
        angle_TC = torch.arange(config.max_seq_len, dtype=torch.float32)[:, None] * frequency_C
        self.register_buffer("cos_TC", angle_TC.cos(), persistent=False)
        self.register_buffer("sin_TC", angle_TC.sin(), persistent=False)

    def forward(self, seq_len: int) -> Rotary:
        """Tables of positions 0 to `seq_len` - 1."""
        longest = self.cos_TC.shape[0]
        if seq_len > longest:
            raise ValueError(f"{seq_len} tokens are more than max_seq_len {longest}: build the model with a larger one")
        return Rotary(self.cos_TC[None, :seq_len, None], self.sin_TC[None, :seq_len, None])


class Attention(nn.Module):
    """Softmax attention over the tokens that it is given, causal in their order."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads = config.n_heads, config.n_kv_heads
        self.head = config.d_model // config.n_heads
        self.qkv = nn.Linear(config.d_model, (config.n_heads + 2 * config.n_kv_heads) * self.head, bias=False)
        self.out = nn.Linear(config.d_model, config.d_model, bias=False)

    def forward(self, x_BTD: Tensor, rotary: Rotary) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        h, k = self.n_heads, self.n_kv_heads
        qkv_BTHd = self.qkv(x_BTD).unflatten(-1, (h + 2 * k, self.head))
        # q and k are rotated together: one kernel instead of two.
        qk_BHTd = rotary.rotate(qkv_BTHd[:, :, : h + k]).transpose(1, 2)
        y_BHTd = F.scaled_dot_product_attention(
            qk_BHTd[:, :h],
            qk_BHTd[:, h:],
            qkv_BTHd[:, :, h + k :].transpose(1, 2),
            is_causal=True,
            enable_gqa=h != k,
        )
        return self.out(y_BHTd.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]  # torch types calls as Any
