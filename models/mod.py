"""Mixture-of-Depths: a routed block takes its top-k tokens through attention and MLP; the others pass by unchanged.

Raposo et al. 2024 (arXiv 2404.02258), section 3. Every second block is routed, the second one first; the router's raw
output multiplies the block's; chosen tokens attend to one another only and keep their own rotary positions. The top-k
sees the whole sequence, later tokens included: as trained here, the model is not autoregressive.

Shapes: B batch, T tokens, D width, k chosen tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modbench.harness import catalogue
from modbench.harness.config import ModelConfig
from modbench.harness.contracts import Cost, Model
from modbench.models.layers.attention import Rotary
from modbench.models.layers.cost import CostSheet
from modbench.models.layers.decoder import Block, Decoder
from modbench.models.layers.experts import kept


class RoutedBlock(Block):
    """x + r·f(x) for the chosen tokens, x for the rest: one residual, gathered, computed, added back."""

    def __init__(self, config: ModelConfig, mlp: nn.Module | None = None) -> None:
        super().__init__(config, mlp)
        assert config.capacity is not None  # the suite fills in each model's default
        self.capacity = config.capacity
        self.router = catalogue.load("routers", config.router)(config)

    def forward(self, x_BTD: Tensor, rotary: Rotary) -> Tensor:
        """[B, T, D] to [B, T, D]; exactly k = max(1, floor(c·T)) tokens of each sequence change."""
        b, t, d = x_BTD.shape
        r_BT = self.router.score(x_BTD)
        i_Bk = self.router.select(r_BT, kept(self.capacity, t))
        flat_N = (i_Bk + torch.arange(b, device=x_BTD.device)[:, None] * t).flatten()
        x_ND = x_BTD.reshape(b * t, d)
        f_BkD = self.delta(x_ND[flat_N].view(b, -1, d), rotary.rows(i_Bk))
        # r is float32; under autocast f is bfloat16 and the stream float32.
        gated_BkD = (r_BT.gather(1, i_Bk)[..., None] * f_BkD).to(x_BTD.dtype)
        # Indices are unique, so index_add adds once each; unlike scatter_add it has a deterministic CUDA mode.
        return x_ND.index_add(0, flat_N, gated_BkD.view(-1, d)).view(b, t, d)


class MoD(Decoder):
    """Dense blocks with a `RoutedBlock` in every `every`-th place."""

    def __init__(self, config: ModelConfig) -> None:
        layers = range(config.n_layers)
        super().__init__(config, (RoutedBlock(config) if config.routed(i) else Block(config) for i in layers))


def cost(config: ModelConfig, seq_len: int, batch_size: int) -> Cost:
    """The router scores all tokens; k of them pass."""
    assert config.capacity is not None
    sheet = CostSheet(config, seq_len, batch_size)
    k = kept(config.capacity, seq_len)
    for layer in range(config.n_layers):
        n = k if config.routed(layer) else seq_len
        sheet.attention(n)
        sheet.mlp(n)
        if config.routed(layer):
            sheet.token_router(seq_len, k)
    return sheet.total()


MODEL = Model(
    build=MoD,
    cost=cost,
    options={"capacity": 0.125, "every": 2, "first_routed": 1, "router": "learned"},
    sees_future=True,
)
