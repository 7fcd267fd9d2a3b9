"""Depth scale: every layer has one learned factor; layers whose factor falls below a threshold are always skipped.

x + s·f(x), with s starting at 1, after LayerScale (Touvron et al. 2021) and ReZero (Bachlechner et al. 2020). These save
nothing by themselves: here an L1 penalty lowers the factors while more than `depth_ratio` of the layers are above
`skip_below`, and outside training the layers below it are skipped, the same for every input. The decision does not depend
on the tokens, so no later token can leak.

Shapes: B batch, T tokens, D width, L layers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.contracts import Cost, Model
from modbench.models.layers.context import ForwardContext
from modbench.models.layers.cost import CostSheet
from modbench.models.layers.decode_cache import BlockCache, Cache, Rows
from modbench.models.layers.decoder import Block, Decoder, draw_weights, mixer_cost, mlp_cost
from modbench.models.layers.whole_input_depth import switched_memory


class DepthScale(Decoder):
    """Dense blocks, each times a factor."""

    has_loss = True
    realised: list[int]  # blocks that each row of the last call ran

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, (Block(config) for _ in range(config.n_layers)))
        self.scale_L = nn.Parameter(torch.ones(config.n_layers))
        self.realised = []
        draw_weights(self, config)

    def layers(self) -> list[int]:
        """The layers that run outside training. Synchronises."""
        size_L = self.scale_L.detach().abs()
        if self.config.forced_depth is not None:
            return sorted(size_L.topk(self.config.forced_depth).indices.tolist())
        return [layer for layer, size in enumerate(size_L.tolist()) if size >= self.config.skip_below]

    def run_blocks(self, x_BTD: Tensor, ctx: ForwardContext, cache: Cache | None = None) -> Tensor:
        """All layers while training, else those that are not skipped."""
        layers = list(range(self.config.n_layers)) if self.training else self.layers()
        self.realised = [len(layers)] * x_BTD.shape[0]
        if cache is not None:  # decoding keeps to these layers: asking again would make the host wait at every token
            cache.plan = {"layers": layers}
        for layer in layers:
            kept = None
            if cache is not None:
                kept = BlockCache(self.config, x_BTD.shape[0], cache.max_len, x_BTD)
                cache.blocks.append(kept)
            # One expression: a name would keep the block's output in memory during the next block.
            x_BTD = x_BTD + self.scale_L[layer] * self.blocks[layer].residual_branch(x_BTD, ctx, kept)
        if ctx.auxiliary is not None:
            size_L = self.scale_L.abs()
            active = (size_L >= self.config.skip_below).float().mean()
            too_deep = active > self.config.depth_ratio
            ctx.auxiliary.append(self.config.depth_weight * size_L.mean() * too_deep)
        return x_BTD

    def new_caches(self, batch_size: int, max_len: int, like: Tensor) -> list[BlockCache]:  # noqa: ARG002  # as in the base class
        """None yet: the prompt's pass asks once which layers run."""
        return []

    def step_blocks(self, x_B1D: Tensor, ctx: ForwardContext, cache: Cache) -> Tensor:
        """One token through the layers that are not skipped."""
        for layer, block_cache in zip(cache.plan["layers"], cache.blocks, strict=True):
            branch_B1D = self.blocks[layer].residual_branch(x_B1D, ctx, block_cache, Rows())
            x_B1D = x_B1D + self.scale_L[layer] * branch_B1D
        return x_B1D


def cost(config: ModelConfig, seq_len: int, batch_size: int, realised: Sequence[int] | None = None) -> Cost:
    """The layers that are not skipped: by `realised`, else the forced or intended number. Training computes all."""
    run = realised[0] if realised else config.forced_depth or max(1, round(config.depth_ratio * config.n_layers))
    sheet, train = CostSheet(config, seq_len, batch_size), CostSheet(config, seq_len, batch_size)
    for layer in range(config.n_layers):
        mixer_cost(train.at(f"blocks.{layer}"), seq_len)
        mlp_cost(train, seq_len)
        train.keep(switched_memory(config, batch_size * seq_len))
        sheet.batch_size = batch_size if layer < run else 0
        mixer_cost(sheet.at(f"blocks.{layer}"), seq_len)
        mlp_cost(sheet, seq_len)
    sheet.batch_size = batch_size
    for sums in (sheet, train):
        sums.params += config.n_layers
    return sheet.total(training=train)


MODEL = Model(
    build=DepthScale,
    cost=cost,
    options={"skip_below": 0.05, "depth_ratio": 0.5, "depth_weight": 0.1, "forced_depth": None},
    dynamic=True,
)
