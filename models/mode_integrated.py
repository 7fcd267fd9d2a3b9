"""MoDE, integrated: one router over E experts and a no-op expert; a token may prefer to skip the MLP.

Raposo et al. 2024 (arXiv 2404.02258), section 3.6 and figure 7. Attention is always computed. Real experts take the
share `capacity` of the token-expert assignments, capacity/E each; the no-op takes part in the softmax and contributes
exactly zero. Choosing over the sequence sees later tokens: the model is not autoregressive.
"""

from __future__ import annotations

from modbench.harness.config import ModelConfig
from modbench.harness.contracts import Cost, Model
from modbench.models.layers.cost import CostSheet
from modbench.models.layers.decoder import Block, Decoder
from modbench.models.layers.experts import ExpertChoice, kept


def share(config: ModelConfig) -> float:
    """Share of a sequence's tokens that each real expert takes."""
    assert config.capacity is not None
    return config.capacity / config.n_experts


class MoDEIntegrated(Decoder):
    """Dense blocks, every `every`-th with experts and a no-op for its MLP."""

    def __init__(self, config: ModelConfig) -> None:
        def block(layer: int) -> Block:
            mlp = ExpertChoice(config, share=share(config), no_op=True) if config.routed(layer) else None
            return Block(config, mlp)

        super().__init__(config, (block(layer) for layer in range(config.n_layers)))


def cost(config: ModelConfig, seq_len: int, batch_size: int) -> Cost:
    """All tokens through attention; real experts work on `capacity` of the assignments."""
    sheet = CostSheet(config, seq_len, batch_size)
    for layer in range(config.n_layers):
        sheet.attention(seq_len)
        if config.routed(layer):
            sheet.experts(seq_len, kept(share(config), seq_len), no_op=True)
        else:
            sheet.mlp(seq_len)
    return sheet.total()


MODEL = Model(
    build=MoDEIntegrated,
    cost=cost,
    options={"capacity": 0.125, "every": 2, "first_routed": 1, "n_experts": 4},
    sees_future=True,
)
