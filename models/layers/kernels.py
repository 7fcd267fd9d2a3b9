"""Below the layers: rotary angles, how softmax attention is computed (fused, in pieces on a CPU), names of steps for profilers.

Shapes: B batch, T tokens, H query heads, K key/value heads, d a head's width, C half of it, S keys.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modbench.harness.call.timing.nvtx import NVTX, nvtx_range
from modbench.harness.core.config import ModelConfig

# torch's causal kernel for CPUs skips masked keys only in blocks of 512: below that it computes the whole square and discards
# half of it. Pieces of 128 queries over the keys so far are a quarter faster at 512 tokens, in training too.
PIECE, WHOLE_BLOCK = 128, 512


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


class RotaryTable(nn.Module):
    """Rotary angles of all positions, computed once: base 10,000, half-size tables.

    The tables stay in float32, so that a bfloat16 model rotates as one that trains in float32: the buffers are the integers
    with the same bits, which no change of the model's number format touches. `cos_TC` and `sin_TC` are views of them.
    """

    cos_bits_TC: Tensor
    sin_bits_TC: Tensor
    causal_bias: Tensor  # added to the scores of a piece of queries: 0 for keys so far, minus infinity for later ones

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.rotates = config.position == "rotary"
        half = config.head_dim // 2 * self.rotates  # learned positions need no angles
        frequency_C = 10_000.0 ** (-torch.arange(half, dtype=torch.float32) / max(1, half))
        angle_TC = torch.arange(config.max_seq_len, dtype=torch.float32)[:, None] * frequency_C
        self.register_buffer("cos_bits_TC", angle_TC.cos().view(torch.int32), persistent=False)
        self.register_buffer("sin_bits_TC", angle_TC.sin().view(torch.int32), persistent=False)
        self._view()
        causal_bias = torch.full((PIECE, WHOLE_BLOCK + PIECE), -torch.inf).triu(WHOLE_BLOCK + 1)
        self.register_buffer("causal_bias", causal_bias, persistent=False)

    def _view(self) -> None:
        self.cos_TC, self.sin_TC = self.cos_bits_TC.view(torch.float32), self.sin_bits_TC.view(torch.float32)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> RotaryTable:  # noqa: FBT001, FBT002  # torch's signature
        """Move with the module. The views are not made at each use, since a TorchScript trace knows no such view."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch has no types here
        self._view()
        return self

    def forward(self, seq_len: int) -> Rotary | None:
        """Tables of positions 0 to `seq_len` - 1, the same for all rows; None where nothing is rotated."""
        self.check(seq_len)
        if not self.rotates:
            return None
        return Rotary(self.cos_TC[None, :seq_len, None], self.sin_TC[None, :seq_len, None])

    def at(self, position_BT: Tensor) -> Rotary | None:
        """Tables of any positions; None where nothing is rotated."""
        if not self.rotates:
            return None
        return Rotary(self.cos_TC[position_BT][:, :, None], self.sin_TC[position_BT][:, :, None])

    def check(self, seq_len: int) -> None:
        """Refuse more tokens than the table has positions.

        Raises:
            ValueError: if there are more tokens than positions.
        """
        longest = self.cos_bits_TC.shape[0]
        if seq_len > longest:
            raise ValueError(f"{seq_len} tokens are more than max_seq_len {longest}: build the model with a larger one")


def fused_attention(
    q_BHTd: Tensor, k_BKSd: Tensor, v_BKSd: Tensor, mask: Tensor | None = None, *, group: int, is_causal: bool = False
) -> Tensor:
    """Softmax attention [B, H, T, d], where `group` query heads share one head of keys and values."""
    if group > 1 and lacks_grouped_kernel(q_BHTd):
        k_BKSd, v_BKSd, group = k_BKSd.repeat_interleave(group, 1), v_BKSd.repeat_interleave(group, 1), 1
    return F.scaled_dot_product_attention(
        q_BHTd, k_BKSd, v_BKSd, attn_mask=mask, is_causal=is_causal, enable_gqa=group > 1
    )


def lacks_grouped_kernel(q_BHTd: Tensor) -> bool:
    """Whether no fused kernel takes grouped heads: then plain products would write out all scores [B, H, T, S].

    On CUDA flash and cuDNN take them, in two-byte formats alone; the kernel for float32 does not (up to torch 2.13).
    """
    return q_BHTd.device.type == "cuda" and q_BHTd.dtype == torch.float32


def in_pieces(q_BHTd: Tensor, k_BKTd: Tensor, v_BKTd: Tensor, causal_bias: Tensor, *, group: int) -> Tensor:
    """Causal attention for a CPU, in pieces of queries, each over the keys so far: [B, T, H d]."""
    t, pieces = q_BHTd.shape[2], []
    bias = causal_bias.to(q_BHTd.dtype)
    # Split, not sliced: the gradient of each slice is as large as all queries.
    for start, q_BHPd in zip(range(0, t, PIECE), q_BHTd.split(PIECE, dim=2), strict=True):
        end = start + q_BHPd.shape[2]
        y = fused_attention(
            q_BHPd,
            k_BKTd[:, :, :end],
            v_BKTd[:, :, :end],
            bias[: end - start, WHOLE_BLOCK - start : WHOLE_BLOCK + end - start] if start else None,
            group=group,
            is_causal=start == 0,
        )
        pieces.append(y.transpose(1, 2))
    return torch.cat(pieces, dim=1).flatten(2)


def span(name: str) -> contextlib.AbstractContextManager[object]:
    """A range called `name` in a running `torch.profiler.profile`, or in NVIDIA's tools if enabled; else, at no cost, nothing."""
    if NVTX:
        return nvtx_range(name)
    if torch.autograd.profiler._is_profiler_enabled:  # noqa: SLF001  # torch's own modules use it; there is no public way
        return torch.profiler.record_function(name)
    return contextlib.nullcontext()
