"""Dense decoder: every block processes every token. The baseline that skipping has to beat."""

from __future__ import annotations

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.contracts import Cost, DecodeCost, Model
from modbench.models.layers.cost import CostSheet, DecodeSheet
from modbench.models.layers.decoder import Block, Decoder, mixer_cost, mixer_reads, mlp_cost, mlp_reads


class Dense(Decoder):
    """Pre-norm RMSNorm, rotary positions, causal attention, SwiGLU, as in Llama (Touvron et al. 2023)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, (Block(config) for _ in range(config.n_layers)))


def cost(config: ModelConfig, seq_len: int, batch_size: int) -> Cost:
    """All tokens through all blocks."""
    sheet = CostSheet(config, seq_len, batch_size)
    for layer in range(config.n_layers):
        mixer_cost(sheet.at(f"blocks.{layer}"), seq_len)
        mlp_cost(sheet, seq_len)
    return sheet.total()


def decode_cost(config: ModelConfig, context: int, batch_size: int) -> DecodeCost:
    """All weights, and the keys and values of every row."""
    sheet = DecodeSheet(config, context, batch_size)
    for _ in range(config.n_layers):
        mixer_reads(sheet, 1.0)
        mlp_reads(sheet, 1.0)
    return sheet.total()


MODEL = Model(build=Dense, cost=cost, decode_cost=decode_cost)
