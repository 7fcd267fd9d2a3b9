"""Mixture-of-Experts: every second block has E experts for its MLP. The control for MoDE.

Expert choice (the default) as in Zhou et al. 2022 (arXiv 2202.09368): each expert takes its
T·experts_top_k·capacity_factor/E best tokens of a sequence, so load is balanced without a loss. A choice over the whole
sequence depends on later tokens, so it is not autoregressive until routed by threshold (`causal=True`, and in decoding).

Token choice as in Fedus et al. 2021 (arXiv 2101.03961): each token takes its `experts_top_k` best experts, with a loss
that balances the load; an expert keeps the first tokens, up to the same number, and drops the rest. `capacity_factor`
under 1 is the reduced-capacity variant that the MoD paper compares with. Causal decisions drop no token.
"""

from __future__ import annotations

from modbench.harness.core.config import ModelConfig, kept
from modbench.harness.core.contracts import Cost, DecodeCost, Model
from modbench.models.layers.cost import CostSheet, DecodeSheet
from modbench.models.layers.decoder import Block, Decoder, mixer_cost, mixer_reads, mlp_cost, mlp_reads
from modbench.models.layers.experts import ExpertMLP, experts_cost, experts_reads


def share(config: ModelConfig) -> float:
    """Largest share of the tokens that each expert takes."""
    return min(1.0, config.experts_top_k * config.capacity_factor / config.n_experts)


class MoE(Decoder):
    """Dense blocks; every `every`-th one has experts for its MLP."""

    def __init__(self, config: ModelConfig) -> None:
        def block(layer: int) -> Block:
            return Block(config, ExpertMLP(config, layer, share=share(config)) if config.routed(layer) else None)

        super().__init__(config, (block(layer) for layer in range(config.n_layers)))


def decode_share(config: ModelConfig) -> float:
    """Share of tokens that reach each expert when decisions are causal; then token choice drops none."""
    return share(config) if config.choice == "expert" else config.experts_top_k / config.n_experts


def cost(config: ModelConfig, seq_len: int, batch_size: int) -> Cost:
    """The mixer processes all tokens, experts as many as their capacity."""
    sheet = CostSheet(config, seq_len, batch_size)
    for layer in range(config.n_layers):
        mixer_cost(sheet.at(f"blocks.{layer}"), seq_len)
        if config.routed(layer):
            experts_cost(sheet, seq_len, kept(share(config), seq_len))
        else:
            mlp_cost(sheet, seq_len)
    return sheet.total()


def decode_cost(config: ModelConfig, context: int, batch_size: int) -> DecodeCost:
    """An expert's weights are read if some row takes it."""
    sheet = DecodeSheet(config, context, batch_size)
    for layer in range(config.n_layers):
        mixer_reads(sheet, 1.0)
        if config.routed(layer):
            experts_reads(sheet, decode_share(config))
        else:
            mlp_reads(sheet, 1.0)
    return sheet.total()


MODEL = Model(
    build=MoE,
    cost=cost,
    options={
        "every": 2,
        "first_routed": 1,
        "n_experts": 4,
        "expert_d_ff": None,
        "shared_experts": 0,
        "experts_top_k": 1,
        "capacity_factor": 1.0,
        "choice": "expert",
        "aux_weight": 0.01,
    },
    sees_future=lambda config: config.choice == "expert",
    decode_cost=decode_cost,
)
