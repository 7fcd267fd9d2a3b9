"""MoDE, staged: MoD routing around the block, then experts as the MLP of the selected tokens.

Raposo et al. 2024 (arXiv 2404.02258), section 3.6 and figure 7. A bypassed token skips attention too, which
is what staging saves over the integrated form. All options of `mod` and of `moe` apply.
"""

from __future__ import annotations

from modbench.harness.core.config import ModelConfig, kept
from modbench.harness.core.contracts import Cost, DecodeCost, Model
from modbench.models.layers.cost import CostSheet, DecodeSheet
from modbench.models.layers.decoder import Block, Decoder, mixer_reads, mlp_cost, mlp_reads
from modbench.models.layers.experts import ExpertMLP, experts_cost, experts_reads
from modbench.models.layers.router import BLIND
from modbench.models.mod import RoutedBlock, block_cost, router_reads
from modbench.models.moe import decode_share, share


class MoDEStaged(Decoder):
    """Dense blocks; every `every`-th one is a `RoutedBlock` whose MLP is an `ExpertMLP`."""

    def __init__(self, config: ModelConfig) -> None:
        def block(layer: int) -> Block:
            if not config.routed(layer):
                return Block(config)
            return RoutedBlock(config, layer, ExpertMLP(config, layer, share=share(config)))

        super().__init__(config, (block(layer) for layer in range(config.n_layers)))


def cost(config: ModelConfig, seq_len: int, batch_size: int) -> Cost:
    """The block's router selects k tokens; the experts' router distributes these."""

    def experts(sheet: CostSheet, n: int, *, residual: bool) -> None:
        experts_cost(sheet, n, kept(share(config), n), residual=residual)

    sheet = CostSheet(config, seq_len, batch_size)
    for layer in range(config.n_layers):
        block_cost(sheet.at(f"blocks.{layer}"), layer, experts if config.routed(layer) else mlp_cost)
    return sheet.total()


def decode_cost(config: ModelConfig, context: int, batch_size: int) -> DecodeCost:
    """A block's weights are read if it processes some row, an expert's if some such row takes it."""
    sheet = DecodeSheet(config, context, batch_size)
    for layer in range(config.n_layers):
        router_reads(sheet, layer)
        mixer_reads(sheet, config.expected_share if config.skips(layer, "attention") else 1.0)
        n = config.expected_share if config.skips(layer, "mlp") else 1.0
        if config.routed(layer):
            experts_reads(sheet, n * decode_share(config), n)
        else:
            mlp_reads(sheet, n)
    return sheet.total()


MODEL = Model(
    build=MoDEStaged,
    cost=cost,
    options={
        "capacity": 0.125,
        "every": 2,
        "first_routed": 1,
        "router": "learned",
        "granularity": "block",
        "multiplier": "raw",
        "router_init": 1.0,
        "round_k": 1,
        "capacity_warmup": 0.0,
        "causal": "predictor",
        "predictor_width": 64,
        "aux_weight": 0.01,
        "participation": None,
        "row_correlation": 0.0,
        "layer_correlation": 0.0,
        "prefill": "causal",
        "n_experts": 4,
        "expert_d_ff": None,
        "shared_experts": 0,
        "experts_top_k": 1,
        "capacity_factor": 1.0,
        "choice": "expert",
    },
    sees_future=lambda config: config.router not in BLIND or config.choice == "expert",
    decode_cost=decode_cost,
)
