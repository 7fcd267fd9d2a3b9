"""Self-attention with grouped queries, rotated by position or not: full or in a sliding window, over a sequence or with a cache.

Shapes: B batch, T tokens, D width, H query heads, K key/value heads, d a head's width, C half of it, W window, N windows.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modbench.harness.core.config import ModelConfig
from modbench.models.layers.block_cache import BlockCache, Rows
from modbench.models.layers.context import ForwardContext, Rotary

# torch's causal kernel for CPUs skips masked keys only in blocks of 512: below that it computes the whole square and discards
# half of it. Pieces of 128 queries over the keys so far are a quarter faster at 512 tokens, in training too.
PIECE, WHOLE_BLOCK = 128, 512


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


class Attention(nn.Module):
    """Softmax attention over the tokens that it is given, causal in their order.

    With a window, a token attends to the last W tokens that this block was given, itself included. In a routed block
    these are the last W that the block processed, however far back they are: shapes stay static, and W cache slots suffice.
    """

    pieces = True  # False computes the whole square everywhere, as the convention for counting FLOPs has it

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads = config.n_heads, config.n_kv_heads
        self.group, self.head = config.n_heads // config.n_kv_heads, config.head_dim
        self.window = config.window if config.mixer == "window" else None
        self.bidirectional = config.bidirectional
        self.qkv = nn.Linear(config.d_model, (config.n_heads + 2 * config.n_kv_heads) * self.head, bias=False)
        self.out = nn.Linear(config.attention_width, config.d_model, bias=False)

    def project(self, x_BTD: Tensor, rotary: Rotary | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [B, H, T, d], keys and values [B, K, T, d]; q and k are rotated together: one kernel instead of two."""
        h, k = self.n_heads, self.n_kv_heads
        qkv_BTHd = self.qkv(x_BTD).unflatten(-1, (h + 2 * k, self.head))
        if rotary is None:
            q_BTHd, k_BTKd, v_BTKd = qkv_BTHd.split((h, k, k), dim=2)
            return q_BTHd.transpose(1, 2), k_BTKd.transpose(1, 2), v_BTKd.transpose(1, 2)
        qk_BHTd = rotary.rotate(qkv_BTHd[:, :, : h + k]).transpose(1, 2)
        return qk_BHTd[:, :h], qk_BHTd[:, h:], qkv_BTHd[:, :, h + k :].transpose(1, 2)

    def queries(self, x_BTD: Tensor, rotary: Rotary | None) -> Tensor:
        """Queries alone, [B, H, T, d]."""
        weight = self.qkv.weight[: self.n_heads * self.head]
        q_BTHd = F.linear(x_BTD, weight).unflatten(-1, (self.n_heads, self.head))
        return (q_BTHd if rotary is None else rotary.rotate(q_BTHd)).transpose(1, 2)

    def keys(self, x_BTD: Tensor, rotary: Rotary | None) -> tuple[Tensor, Tensor]:
        """Keys and values alone, [B, K, T, d]."""
        kv_BTHd = F.linear(x_BTD, self.qkv.weight[self.n_heads * self.head :]).unflatten(-1, (-1, self.head))
        k_BTKd, v_BTKd = kv_BTHd.chunk(2, dim=2)
        return (k_BTKd if rotary is None else rotary.rotate(k_BTKd)).transpose(1, 2), v_BTKd.transpose(1, 2)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, is_causal: bool = False) -> Tensor:
        """[B, H, T, d] over keys [B, K, S, d] to [B, T, D], through the output projection."""
        y_BHTd = fused_attention(q, k, v, mask, group=self.group, is_causal=is_causal)
        y_BTD: Tensor = self.out(y_BHTd.transpose(1, 2).flatten(2))
        return y_BTD

    def forward(self, x_BTD: Tensor, ctx: ForwardContext, cache: BlockCache | None = None) -> Tensor:
        """[B, T, D] to [B, T, D]; with a cache, keys and values are kept there.

        Padding is on the right, so the causal mask already hides it from every real token.
        """
        q, k, v = self.project(x_BTD, ctx.rotary)
        if cache is not None:
            cache.fill(k, v, ctx.lengths_B, ctx.lengths)
        if self.bidirectional:
            real_BT = ctx.real_BT
            return self.attend(q, k, v, None if real_BT is None else real_BT[:, None, None])
        if self.window is not None and self.window < x_BTD.shape[1]:
            return self._windows(q, k, v, self.window)
        on_cpu = q.device.type == "cpu" and PIECE < q.shape[2] <= WHOLE_BLOCK
        if self.pieces and on_cpu and ctx.causal_bias is not None:
            y_BTD: Tensor = self.out(self._in_pieces(q, k, v, ctx.causal_bias))
            return y_BTD
        return self.attend(q, k, v, is_causal=True)

    def _in_pieces(self, q_BHTd: Tensor, k_BKTd: Tensor, v_BKTd: Tensor, causal_bias: Tensor) -> Tensor:
        """Causal attention for a CPU, in pieces of queries, each over the keys so far: [B, T, H d]."""
        t, pieces = q_BHTd.shape[2], []
        bias = causal_bias.to(q_BHTd.dtype)
        for start in range(0, t, PIECE):
            end = min(start + PIECE, t)
            y = fused_attention(
                q_BHTd[:, :, start:end],
                k_BKTd[:, :, :end],
                v_BKTd[:, :, :end],
                bias[: end - start, WHOLE_BLOCK - start : WHOLE_BLOCK + end - start] if start else None,
                group=self.group,
                is_causal=start == 0,
            )
            pieces.append(y.transpose(1, 2))
        return torch.cat(pieces, dim=1).flatten(2)

    def _windows(self, q_BHTd: Tensor, k_BKTd: Tensor, v_BKTd: Tensor, w: int) -> Tensor:
        """Cut the sequence into pieces of W tokens; each attends to itself and the piece before: 2W keys, never T."""
        b, _, t, _ = q_BHTd.shape
        n = -(-t // w)

        def pieces(x: Tensor, *, with_previous: bool) -> Tensor:
            x = F.pad(x, (0, 0, w if with_previous else 0, n * w - t))
            own = x.unflatten(2, (-1, w)).transpose(1, 2)
            both = torch.cat((own[:, :-1], own[:, 1:]), dim=3) if with_previous else own
            return both.flatten(0, 1)

        query_W, key_2W = torch.arange(w, device=q_BHTd.device), torch.arange(2 * w, device=q_BHTd.device)
        near_W2W = (key_2W > query_W[:, None]) & (key_2W <= query_W[:, None] + w)
        first_N = torch.arange(n, device=q_BHTd.device) == 0  # nothing comes before the first piece
        mask_NW2W = near_W2W & ~(first_N[:, None, None] & (key_2W < w))
        y = fused_attention(
            pieces(q_BHTd, with_previous=False),
            pieces(k_BKTd, with_previous=True),
            pieces(v_BKTd, with_previous=True),
            mask_NW2W.repeat(b, 1, 1)[:, None],
            group=self.group,
        )
        y_BTD: Tensor = self.out(y.unflatten(0, (b, n)).transpose(2, 3).flatten(1, 2).flatten(2)[:, :t])
        return y_BTD

    def step(self, x_R1D: Tensor, ctx: ForwardContext, cache: BlockCache, rows: Rows) -> Tensor:
        """One new token of some rows, which attends to the cached tokens of its row and to itself."""
        q, k, v = self.project(x_R1D, ctx.rotary)
        return self.attend(q, *cache.append(k, v, rows))
