"""Mixture-of-Experts: every second block's MLP is E experts that choose their tokens. The control that MoDE needs.

Expert choice as in Zhou et al. 2022 (arXiv 2202.09368): each expert takes its T·experts_top_k·capacity_factor/E best
tokens of a sequence, so load is balanced without a loss, and a token gets `experts_top_k` experts on average. Choosing
over the sequence sees later tokens: the model is not autoregressive.
"""

from __future__ import annotations

from modbench.harness.config import ModelConfig
from modbench.harness.contracts import Cost, Model
from modbench.models.layers.cost import CostSheet
from modbench.models.layers.decoder import Block, Decoder
from modbench.models.layers.experts import ExpertChoice, kept


def share(config: ModelConfig) -> float:
    """Share of the tokens it is offered that each expert takes."""
    return config.experts_top_k * config.capacity_factor / config.n_experts


class MoE(Decoder):
    """Dense blocks, every `every`-th with experts for its MLP."""

    def __init__(self, config: ModelConfig) -> None:
        def block(layer: int) -> Block:
            return Block(config, ExpertChoice(config, share=share(config)) if config.routed(layer) else None)

        super().__init__(config, (block(layer) for layer in range(config.n_layers)))


def cost(config: ModelConfig, seq_len: int, batch_size: int) -> Cost:
    """All tokens through attention; experts work on what they chose."""
    sheet = CostSheet(config, seq_len, batch_size)
    for layer in range(config.n_layers):
        sheet.attention(seq_len)
        if config.routed(layer):
            sheet.experts(seq_len, kept(share(config), seq_len))
        else:
            sheet.mlp(seq_len)
    return sheet.total()


MODEL = Model(
    build=MoE,
    cost=cost,
    options={"every": 2, "first_routed": 1, "n_experts": 4, "experts_top_k": 1, "capacity_factor": 1.0},
    sees_future=True,
)
