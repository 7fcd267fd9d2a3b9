"""MoDE, integrated: one router over E experts and a no-op expert, so that a token can prefer to skip the MLP.

Raposo et al. 2024 (arXiv 2404.02258), section 3.6 and figure 7. Attention is always computed. Real experts take a share
`capacity` of the token-expert assignments, capacity/E each; no-ops are part of the softmax and contribute exactly zero.
The paper does not say how many experts and no-ops there are, nor whether experts or tokens choose: `n_experts` (4),
`n_no_ops` (1), `choice` (expert). A choice over the sequence depends on later tokens; `causal=True` and decoding route by
threshold.
"""

from __future__ import annotations

from modbench.harness.core.config import ModelConfig, kept
from modbench.harness.core.contracts import Cost, DecodeCost, Model
from modbench.models.layers.cost import CostSheet, DecodeSheet
from modbench.models.layers.decoder import Block, Decoder
from modbench.models.layers.experts import ExpertMLP


def share(config: ModelConfig) -> float:
    """Share of a sequence's tokens that each real expert takes."""
    assert config.capacity is not None
    return config.capacity / config.n_experts


class MoDEIntegrated(Decoder):
    """Dense blocks; every `every`-th one has experts and no-ops for its MLP."""

    def __init__(self, config: ModelConfig) -> None:
        def block(layer: int) -> Block:
            experts = (
                ExpertMLP(config, layer, share=share(config), no_ops=config.n_no_ops) if config.routed(layer) else None
            )
            return Block(config, experts)

        super().__init__(config, (block(layer) for layer in range(config.n_layers)))


def cost(config: ModelConfig, seq_len: int, batch_size: int) -> Cost:
    """The mixer processes all tokens; real experts take a share `capacity` of the assignments."""
    sheet = CostSheet(config, seq_len, batch_size)
    for layer in range(config.n_layers):
        sheet.at(f"blocks.{layer}").mixer(seq_len)
        if config.routed(layer):
            sheet.experts(seq_len, kept(share(config), seq_len), no_ops=config.n_no_ops)
        else:
            sheet.mlp(seq_len)
    return sheet.total()


def decode_cost(config: ModelConfig, context: int, batch_size: int) -> DecodeCost:
    """An expert's weights are read if some row takes it; a no-op has none. Token choice drops no token here."""
    taken = share(config) if config.choice == "expert" else config.experts_top_k / (config.n_experts + config.n_no_ops)
    sheet = DecodeSheet(config, context, batch_size)
    for layer in range(config.n_layers):
        sheet.mixer(1.0)
        if config.routed(layer):
            sheet.mlp(min(1.0, taken), experts=config.n_experts)
        else:
            sheet.mlp(1.0)
    return sheet.total()


MODEL = Model(
    build=MoDEIntegrated,
    cost=cost,
    options={
        "capacity": 0.125,
        "every": 2,
        "first_routed": 1,
        "n_experts": 4,
        "n_no_ops": 1,
        "experts_top_k": 1,
        "choice": "expert",
        "aux_weight": 0.01,
    },
    sees_future=lambda config: config.choice == "expert",
    decode_cost=decode_cost,
)
