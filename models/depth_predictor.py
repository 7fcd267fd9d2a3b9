"""Depth predictor: a small separate network reads the prompt and predicts how many blocks the whole input gets.

After BlockDrop (Wu et al. 2018) and the sequence-level depth of Elbayad et al. 2020 (arXiv 1910.10073): an MLP over the
mean embedding of the prompt (detached) picks a depth from 1 to `n_layers`. Training computes all blocks and switches them
by a straight-through choice; otherwise a batch is sorted by depth and skipped blocks are not computed. In a causal model
the gate may read only the prompt, and no later token leaks into a logit (see `layers/whole_input_depth.py`).

Shapes: B batch, T tokens, D width, L layers, n rows that are still running.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.contracts import Amount, Cost, Model
from modbench.models.layers.context import ForwardContext
from modbench.models.layers.cost import CostSheet
from modbench.models.layers.decode_cache import BlockCache, Cache
from modbench.models.layers.decoder import Block, Decoder, draw_weights, mixer_cost, mlp_cost
from modbench.models.layers.whole_input_depth import (
    bucket,
    choose,
    combine_depths,
    depth_loss,
    forced_logits,
    mean_over_prompt,
    prompt_lengths,
    switched_memory,
)


class DepthPredictor(Decoder):
    """Dense blocks; each input runs the first ones, as many as the predictor chooses."""

    has_loss = True
    realised: list[int]  # blocks that each row of the last call ran

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, (Block(config) for _ in range(config.n_layers)))
        w = config.predictor_width
        self.predictor = nn.Sequential(nn.Linear(config.d_model, w), nn.SiLU(), nn.Linear(w, config.n_layers))
        self.register_buffer("depth_L", torch.arange(1.0, config.n_layers + 1), persistent=False)
        self.realised = []
        draw_weights(self, config)

    def _logits(self, x_BTD: Tensor, prompt_B: Tensor) -> Tensor:
        if self.config.forced_depth is not None:
            return forced_logits(self.config.forced_depth - 1, self.config.n_layers, x_BTD)
        logits_BL: Tensor = self.predictor(mean_over_prompt(x_BTD, prompt_B).detach())
        return logits_BL

    def run_blocks(self, x_BTD: Tensor, ctx: ForwardContext, cache: Cache | None = None) -> Tensor:
        """The blocks that the gate gives each row."""
        prompt_B = prompt_lengths(ctx, self.config)
        logits_BL = self._logits(x_BTD, prompt_B)
        if self.training:
            return self._train(x_BTD, ctx, logits_BL, prompt_B)
        order_B, back_B, order, counts, self.realised = bucket(logits_BL.argmax(-1) + 1, self.config.n_layers)
        x_BTD, ctx_R, done, shallow = x_BTD[order_B], ctx.of_rows(order_B, order), list[Tensor](), x_BTD
        for layer, n in enumerate(counts):
            if n < len(x_BTD):  # even an empty view keeps all rows in memory
                done.append(x_BTD[n:])
                x_BTD, ctx_R = x_BTD[:n], ctx.of_rows(order_B[:n], order[:n])
            if n == 0:
                break
            block_cache = None
            if cache is not None:
                block_cache = BlockCache(self.config, n, cache.max_len, x_BTD)
                cache.blocks.append(block_cache)
            x_BTD = self.blocks[layer](x_BTD, ctx_R, block_cache)
            shallow = x_BTD if layer == 0 else shallow
        if cache is not None:
            cache.plan = {"order_B": order_B, "back_B": back_B}
        deep_BTD = torch.cat((x_BTD, *reversed(done)))[back_B]
        return combine_depths(shallow[back_B], deep_BTD, ctx, prompt_B, self.config)

    def _train(self, x_BTD: Tensor, ctx: ForwardContext, logits_BL: Tensor, prompt_B: Tensor) -> Tensor:
        """All blocks, each switched on for the rows whose depth reaches it."""
        picked_BL, p_BL = choose(logits_BL, self.config)
        runs_BL = picked_BL.flip(-1).cumsum(-1).flip(-1)  # block l runs where the depth is above l
        shallow = x_BTD
        for layer, block in enumerate(self.blocks):
            branch_BTD = block.residual_branch(x_BTD, ctx)
            x_BTD = x_BTD + (runs_BL[:, layer, None, None] * branch_BTD).to(x_BTD.dtype)
            shallow = x_BTD if layer == 0 else shallow
        if ctx.auxiliary is not None:
            ctx.auxiliary.append(depth_loss(p_BL, self.get_buffer("depth_L"), self.config))
        return combine_depths(shallow, x_BTD, ctx, prompt_B, self.config)

    def new_caches(self, batch_size: int, max_len: int, like: Tensor) -> list[BlockCache]:  # noqa: ARG002  # as in the base class
        """None yet: how many rows a block gets is known only after the prompt has been read."""
        return []

    def step_blocks(self, x_B1D: Tensor, ctx: ForwardContext, cache: Cache) -> Tensor:
        """One token of every row, each at the depth of its prompt."""
        order_B, done = cache.plan["order_B"], []
        x_B1D = x_B1D[order_B]
        for block, block_cache in zip(self.blocks, cache.blocks, strict=False):
            n = block_cache.batch_size
            done.append(x_B1D[n:])
            x_B1D = block.step(x_B1D[:n], ctx.of_rows(order_B[:n]), block_cache)
        return torch.cat((x_B1D, *reversed(done)))[cache.plan["back_B"]]


def cost(config: ModelConfig, seq_len: int, batch_size: int, realised: Sequence[int] | None = None) -> Cost:
    """Each row at its own depth: by `realised`, else the forced or intended depth. Training computes all blocks."""
    depths = realised or [config.forced_depth or max(1, round(config.depth_ratio * config.n_layers))] * batch_size
    sheet, train = CostSheet(config, seq_len, batch_size), CostSheet(config, seq_len, batch_size)
    # The shallow stream is kept for the prompt's positions.
    sheet.outer = Amount(config.d_model) * (batch_size * seq_len)
    for layer in range(config.n_layers):
        mixer_cost(train.at(f"blocks.{layer}"), seq_len)
        mlp_cost(train, seq_len)
        train.keep(switched_memory(config, batch_size * seq_len))
        sheet.batch_size = sum(depth > layer for depth in depths)
        mixer_cost(sheet.at(f"blocks.{layer}"), seq_len)
        mlp_cost(sheet, seq_len)
    sheet.batch_size = batch_size
    w = config.predictor_width
    for sums in (sheet, train):
        sums.params += config.d_model * w + w + (w + 1) * config.n_layers
    if config.forced_depth is None:
        gate = 2 * batch_size * w
        sheet.matmul("gate", 1, config.d_model, w, at="predictor")
        sheet.matmul("gate", 1, w, config.n_layers, at="predictor")
        # Its input is detached: no gradient is computed for it.
        sheet.only_training = gate * (2 * config.d_model + 3 * config.n_layers)
    return sheet.total(training=train)


MODEL = Model(
    build=DepthPredictor,
    cost=cost,
    options={
        "predictor_width": 64,
        "gate": "straight_through",
        "gate_tokens": 16,
        "depth_ratio": 0.5,
        "depth_weight": 0.1,
        "forced_depth": None,
    },
    dynamic=True,
)
