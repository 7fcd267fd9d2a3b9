"""MoDE, staged: MoD routing around the block, then experts in the MLP of the tokens that passed.

Raposo et al. 2024 (arXiv 2404.02258), section 3.6 and figure 7. A bypassed token skips attention too, which is what
staging saves over the integrated form. Both routers choose over the sequence: not autoregressive.
"""

from __future__ import annotations

from modbench.harness.config import ModelConfig
from modbench.harness.contracts import Cost, Model
from modbench.models.layers.cost import CostSheet
from modbench.models.layers.decoder import Block, Decoder
from modbench.models.layers.experts import ExpertChoice, kept
from modbench.models.mod import RoutedBlock
from modbench.models.moe import share


class MoDEStaged(Decoder):
    """Dense blocks, every `every`-th a `RoutedBlock` whose MLP is `ExpertChoice`."""

    def __init__(self, config: ModelConfig) -> None:
        def block(layer: int) -> Block:
            if not config.routed(layer):
                return Block(config)
            return RoutedBlock(config, ExpertChoice(config, share=share(config)))

        super().__init__(config, (block(layer) for layer in range(config.n_layers)))


def cost(config: ModelConfig, seq_len: int, batch_size: int) -> Cost:
    """K tokens pass the first router; the second deals those k to the experts."""
    assert config.capacity is not None
    sheet = CostSheet(config, seq_len, batch_size)
    k = kept(config.capacity, seq_len)
    for layer in range(config.n_layers):
        if config.routed(layer):
            sheet.token_router(seq_len, k)
            sheet.attention(k)
            sheet.experts(k, kept(share(config), k))
        else:
            sheet.attention(seq_len)
            sheet.mlp(seq_len)
    return sheet.total()


MODEL = Model(
    build=MoDEStaged,
    cost=cost,
    options={
        "capacity": 0.125,
        "every": 2,
        "first_routed": 1,
        "router": "learned",
        "n_experts": 4,
        "experts_top_k": 1,
        "capacity_factor": 1.0,
    },
    sees_future=True,
)
