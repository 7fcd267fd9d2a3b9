"""MoDE, integrated: one router over E experts and no-op experts, so that a token can prefer to skip the MLP.

Raposo et al. 2024 (arXiv 2404.02258), section 3.6 and figure 7. Attention is always computed. Real experts take a share
`capacity` of the choices, capacity/E each; no-ops are part of the softmax. The paper does not say how many experts and no-ops
there are, nor whether experts or tokens choose: `n_experts` (4), `n_no_ops`, `choice` (expert).

Where experts choose, one no-op competes in the softmax, and the choice over the sequence depends on later tokens; `causal=True`
and decoding route by threshold. Where tokens choose (LongCat-Flash, MoE++, null experts), each takes its `experts_top_k` best
of E + M, none is dropped, and how many experts are computed depends on the input: see `layers/token_choice.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from modbench.harness.core.config import ModelConfig, kept
from modbench.harness.core.contracts import Cost, DecodeCost, Model
from modbench.models.layers.cost import CostSheet, DecodeSheet
from modbench.models.layers.decoder import Block, Decoder, mixer_cost, mixer_reads, mlp_cost, mlp_reads
from modbench.models.layers.experts import ExpertMLP, experts_cost, experts_reads
from modbench.models.layers.token_choice import (
    TokenChoiceMLP,
    null_choices,
    real_pairs,
    refuse_unused,
    token_choice_cost,
)


def share(config: ModelConfig) -> float:
    """Share of a sequence's tokens that each real expert takes, where experts choose."""
    assert config.capacity is not None
    return config.capacity / config.n_experts


def no_ops(config: ModelConfig) -> int:
    """No-ops in the softmax of experts that choose."""
    return 1 if config.n_no_ops is None else config.n_no_ops


class MoDEIntegrated(Decoder):
    """Dense blocks; every `every`-th one has experts and no-ops for its MLP."""

    def __init__(self, config: ModelConfig) -> None:
        refuse_unused(config)

        def mlp(layer: int) -> ExpertMLP:
            if config.choice == "token":
                return TokenChoiceMLP(config, layer)
            return ExpertMLP(config, layer, share=share(config), no_ops=no_ops(config))

        super().__init__(
            config, (Block(config, mlp(layer) if config.routed(layer) else None) for layer in range(config.n_layers))
        )

    @property
    def pairs(self) -> list[int] | None:
        """Pairs of a token and a real expert in each routed block of the last call; None where experts choose."""
        if self.config.choice == "expert":
            return None
        return [block.mlp.pairs for block in self.blocks if isinstance(block.mlp, TokenChoiceMLP)]

    def after_step(self) -> None:
        """Move the controllers of routers by what this step's tokens chose."""
        for block in self.blocks:
            if isinstance(block.mlp, TokenChoiceMLP) and block.mlp.controller is not None:
                block.mlp.controller.move()


def cost(config: ModelConfig, seq_len: int, batch_size: int, pairs: Sequence[int] | None = None) -> Cost:
    """The mixer processes all tokens; real experts take a share `capacity` of the choices, or as many as `pairs` says.

    Args:
        config: shape.
        seq_len: tokens of a sequence.
        batch_size: sequences.
        pairs: where tokens choose, pairs of a token and a real expert in each routed block.
    """
    refuse_unused(config)
    if pairs is not None:
        return _sheet(config, seq_len, batch_size, list(pairs)).total(training=_sheet(config, seq_len, batch_size))
    return _sheet(config, seq_len, batch_size).total()


def _sheet(config: ModelConfig, seq_len: int, batch_size: int, pairs: list[int] | None = None) -> CostSheet:
    sheet = CostSheet(config, seq_len, batch_size)
    routed = [layer for layer in range(config.n_layers) if config.routed(layer)]
    each = pairs or [real_pairs(config, seq_len * batch_size)] * len(routed)
    for layer in range(config.n_layers):
        mixer_cost(sheet.at(f"blocks.{layer}"), seq_len)
        if layer not in routed:
            mlp_cost(sheet, seq_len)
        elif config.choice == "token":
            token_choice_cost(sheet, seq_len, each[routed.index(layer)], null_choices(config))
        else:
            experts_cost(sheet, seq_len, kept(share(config), seq_len), no_ops=no_ops(config))
    return sheet


def decode_cost(config: ModelConfig, context: int, batch_size: int) -> DecodeCost:
    """An expert's weights are read if some row takes it; a no-op has none, but for a constant one."""
    tokens_choose = config.choice == "token"
    taken = share(config) * (config.experts_top_k if tokens_choose else 1)
    sheet = DecodeSheet(config, context, batch_size)
    for layer in range(config.n_layers):
        mixer_reads(sheet, 1.0)
        if config.routed(layer):
            experts_reads(sheet, min(1.0, taken))
            sheet.elements += 3 * config.d_model * null_choices(config).constants if tokens_choose else 0
        else:
            mlp_reads(sheet, 1.0)
    return sheet.total()


MODEL = Model(
    build=MoDEIntegrated,
    cost=cost,
    options={
        "capacity": 0.125,
        "every": 2,
        "first_routed": 1,
        "n_experts": 4,
        "expert_d_ff": None,
        "shared_experts": 0,
        "n_no_ops": None,
        "experts_top_k": 1,
        "choice": "expert",
        "aux_weight": 0.1,  # 0.01 does not hold the share of tokens that choose (docs/models.md); experts that choose need none
        "no_op": "zero",
        "no_op_logits": "own",
        "balance": "loss",
    },
    sees_future=lambda config: config.choice == "expert",
    pairs=lambda module: module.pairs,
    decode_cost=decode_cost,
)
