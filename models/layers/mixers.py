"""What can take the place of full attention: a sliding window, or a dynamic convolution (Wu et al. 2019, arXiv 1901.10430).

Shapes: B batch, T tokens, D width, H heads, K key/value heads, d a head's width, W window or kernel size, N windows, R rows
and S cached tokens of a decode step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.contracts import FLOAT32, Amount, Layer
from modbench.models.layers.context import ForwardContext
from modbench.models.layers.cost import CostSheet, norm_memory
from modbench.models.layers.decode_cache import BlockCache, Rows
from modbench.models.layers.kernels import fused_attention


def in_windows(q_BHTd: Tensor, k_BKTd: Tensor, v_BKTd: Tensor, w: int, *, group: int) -> Tensor:
    """Attention to the last W tokens, in pieces of W, each over itself and the piece before: 2W keys, never T. [B, T, H d]."""
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
        group=group,
    )
    y_BTA: Tensor = y.unflatten(0, (b, n)).transpose(2, 3).flatten(1, 2).flatten(2)[:, :t]
    return y_BTA


def window_pairs(n: int, w: int) -> tuple[float, float]:
    """Pairs of query and key that windows of W compute among n > W tokens, and pairs that the mask allows."""
    return -(-n // w) * w * 2 * w, w * (w + 1) / 2 + (n - w) * w


def window_memory(config: ModelConfig, n: float, tokens: float) -> Layer:
    """As `attention_memory`, in pieces of W queries and 2 W keys, which are copies; the mask is in the model's format."""
    d, h, w = config.d_model, config.n_heads, config.window
    a, kv = config.attention_width, config.kv_width
    whole = -(-n // w) * w / n  # the last piece is padded
    pieces = Amount(a + 4 * kv + 2 * w, exact=FLOAT32 * h) * whole
    kept = norm_memory(config) + pieces + Amount(a) * whole + Amount(d)
    if whole > 1:
        kept += Amount(a)  # what is left of the output without the padding is a copy
    return Layer(
        kept * tokens,
        d * (2 * a + 2 * kv) + config.norm_params,
        back=Amount(2 * a + 4 * kv) * tokens * whole + Amount(a * d),
        forward=(Amount(d + 3 * a + 3 * kv) + pieces + Amount(0, exact=2 * w)) * tokens,
        output=Amount(2 * d) * tokens,
    )


class DynamicConvolution(nn.Module):
    """Each token mixes the last tokens with weights that it predicts: linear in T.

    Gated values, one softmax-normalised kernel per token and head, an output projection.

    Causal, or centred where the model is bidirectional. To decode, the values of the last W tokens suffice; of a routed block
    these are the last W that it processed.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_heads, self.size = config.n_heads, config.kernel_size
        self.ahead = (config.kernel_size - 1) // 2 if config.bidirectional else 0
        self.value = nn.Linear(config.d_model, 2 * config.d_model, bias=False)
        self.kernel = nn.Linear(config.d_model, config.n_heads * config.kernel_size, bias=False)
        self.out = nn.Linear(config.d_model, config.d_model, bias=False)

    def project(self, x_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """Values [B, T, D], and of each token and head the weights [B, T, H, W] of its last W tokens, its own last."""
        kernel_BTHW = self.kernel(x_BTD).unflatten(-1, (self.n_heads, self.size)).softmax(dim=-1)
        return F.glu(self.value(x_BTD), dim=-1), kernel_BTHW

    def forward(self, x_BTD: Tensor, ctx: ForwardContext, cache: BlockCache | None = None) -> Tensor:
        """[B, T, D] to [B, T, D]; in a routed block the neighbours are the other selected tokens."""
        v_BTD, kernel_BTHW = self.project(x_BTD)
        real_BT = ctx.real_BT
        if real_BT is not None:
            v_BTD = v_BTD * real_BT[..., None]
        if cache is not None:
            v_BHTd = self._heads(v_BTD)
            cache.fill(v_BHTd[..., :0], v_BHTd, ctx.lengths_B, ctx.lengths)
        padded = F.pad(v_BTD, (0, 0, self.size - 1 - self.ahead, self.ahead)).unflatten(-1, (self.n_heads, -1))
        y_BTHd1 = padded.unfold(1, self.size, 1) @ kernel_BTHW[..., None]
        y_BTD: Tensor = self.out(y_BTHd1.flatten(2))
        return y_BTD

    def step(self, x_R1D: Tensor, ctx: ForwardContext, cache: BlockCache, rows: Rows) -> Tensor:  # noqa: ARG002  # as attention's
        """One new token of some rows, which mixes the last tokens of its row; those before its first count as 0."""
        v_R1D, kernel_R1HW = self.project(x_R1D)
        v_RH1d = self._heads(v_R1D)
        _, v_RHSd, mask = cache.append(v_RH1d[..., :0], v_RH1d, rows)
        weight_RHS = cache.by_slot(kernel_R1HW[:, 0], rows)[..., : v_RHSd.shape[2]]
        if mask is not None:
            weight_RHS = weight_RHS.masked_fill(~mask[:, 0], 0)
        y_RH1d = weight_RHS[:, :, None] @ v_RHSd.to(weight_RHS.dtype)
        y_R1D: Tensor = self.out(y_RH1d.transpose(1, 2).flatten(2))
        return y_R1D

    def _heads(self, v_BTD: Tensor) -> Tensor:
        """[B, T, D] to [B, H, T, d]."""
        v_BTHd: Tensor = v_BTD.unflatten(-1, (self.n_heads, -1))
        return v_BTHd.transpose(1, 2)


def convolution_cost(sheet: CostSheet, n: int) -> None:
    """Norm and convolution over n tokens."""
    config, d = sheet.config, sheet.config.d_model
    h, w = config.n_heads, config.kernel_size
    sheet.matmul("mixer projections", n, d, 3 * d + h * w, at=f"{sheet.here}attention")
    sheet.matmul("convolution", n, w, d, at=f"{sheet.here}attention")
    sheet.params += d * (3 * d + h * w) + config.norm_params
    sheet.keep(_convolution_memory(config, n * sheet.batch_size))


def _convolution_memory(config: ModelConfig, tokens: float) -> Layer:
    """Norm, gated values, a kernel for each token and head, the window of values, output, residual."""
    d, h, w = config.d_model, config.n_heads, config.kernel_size
    kept = norm_memory(config) + Amount(2 * d + h * w + w * d + d) + Amount(d)
    return Layer(
        kept * tokens,
        d * (3 * d + h * w) + config.norm_params,
        back=Amount(w * d + h * w) * tokens,
        forward=Amount(d + d + h * w + d + w * d + d) * tokens,
        output=Amount(2 * d) * tokens,
    )
