"""Depth branches: several parallel stacks of different depth; a gate picks one of them for the whole input.

A first block runs for every input. From its output on the prompt a linear gate picks one of `n_branches` stacks, whose
depths spread evenly up to `n_layers` - 1. Branches share nothing: the model has the parameters of all, and computes one.
Training computes all branches and selects by a straight-through choice (`gate`: optionally with Gumbel noise); otherwise
rows are grouped by branch and the other branches are not computed. In a causal model the gate may read only the prompt,
and no later token leaks into a logit (see `layers/whole_input_depth.py`).

Shapes: B batch, T tokens, D width, N branches, R rows of one branch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.contracts import Amount, Cost, Layer, Model
from modbench.models.layers.context import ForwardContext
from modbench.models.layers.cost import CostSheet
from modbench.models.layers.decode_cache import BlockCache, Cache
from modbench.models.layers.decoder import Block, Decoder, draw_weights, mixer_cost, mlp_cost
from modbench.models.layers.whole_input_depth import (
    choose,
    combine_depths,
    depth_loss,
    forced_logits,
    mean_over_prompt,
    prompt_lengths,
)


def branch_depths(config: ModelConfig) -> list[int]:
    """Blocks of each branch.

    Raises:
        ValueError: if there are more branches than depths, or no branch gives the forced depth.
    """
    n, deepest = config.n_branches, config.n_layers - 1
    if n > deepest:
        raise ValueError(
            f"n_branches {n} needs n_layers of at least {n + 1}: one shared block, and branches of other depths"
        )
    depths = [max(1, round((i + 1) * deepest / n)) for i in range(n)]
    if config.forced_depth is not None and config.forced_depth - 1 not in depths:
        raise ValueError(
            f"forced_depth {config.forced_depth} is none of {[1 + depth for depth in depths]}, the depths built"
        )
    return depths


class _Taken(NamedTuple):
    """A branch that some rows take: its blocks, and the rows, ascending, on the device and on the host."""

    branch: Sequence[Block]
    row_R: Tensor
    rows: list[int]


class DepthBranches(Decoder):
    """One shared block, a gate, and branches."""

    has_loss = True
    realised: list[int]  # blocks that each row of the last call ran

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, [Block(config)])
        self.depths = branch_depths(config)
        branches = nn.ModuleList(nn.ModuleList(Block(config) for _ in range(depth)) for depth in self.depths)
        self.branches = cast("Sequence[Sequence[Block]]", branches)
        self.gate = nn.Linear(config.d_model, config.n_branches, bias=False)
        self.register_buffer("depth_N", torch.tensor([1.0 + depth for depth in self.depths]), persistent=False)
        self.realised = []
        draw_weights(self, config)

    def _logits(self, x_BTD: Tensor, prompt_B: Tensor) -> Tensor:
        if self.config.forced_depth is not None:
            return forced_logits(self.depths.index(self.config.forced_depth - 1), len(self.depths), x_BTD)
        logits_BN: Tensor = self.gate(mean_over_prompt(x_BTD, prompt_B))
        return logits_BN

    def _taken_branches(self, picked_B: Tensor, picked: list[int]) -> list[_Taken]:
        """Every branch that some row takes, with its rows: sorted on the device, counted on the host."""
        rows = [[row for row, choice in enumerate(picked) if choice == number] for number in range(len(self.branches))]
        parts = picked_B.argsort(stable=True).split([len(each) for each in rows])
        return [_Taken(*taken) for taken in zip(self.branches, parts, rows, strict=True) if taken[2]]

    def run_blocks(self, x_BTD: Tensor, ctx: ForwardContext, cache: Cache | None = None) -> Tensor:
        """The first block, then the branch of each row."""
        prompt_B = prompt_lengths(ctx, self.config)
        # Both names, so that the input of the first block is freed.
        x_BTD = shallow_BTD = self.blocks[0](x_BTD, ctx, cache.blocks[0] if cache else None)
        logits_BN = self._logits(shallow_BTD, prompt_B)
        if self.training:
            return self._train(shallow_BTD, ctx, logits_BN, prompt_B)
        picked_B = logits_BN.argmax(-1)
        picked = picked_B.tolist()
        self.realised = [1 + self.depths[branch] for branch in picked]
        deep_BTD = torch.zeros_like(shallow_BTD)
        taken = self._taken_branches(picked_B, picked)
        for branch, row_R, rows in taken:
            x_RTD, ctx_R = shallow_BTD[row_R], ctx.of_rows(row_R, rows)
            for block in branch:
                block_cache = None
                if cache is not None:
                    block_cache = BlockCache(self.config, len(row_R), cache.max_len, x_BTD)
                    cache.blocks.append(block_cache)
                x_RTD = block(x_RTD, ctx_R, block_cache)
            deep_BTD = deep_BTD.index_copy(0, row_R, x_RTD)
        if cache is not None:
            cache.plan = {"taken": taken}
        return combine_depths(shallow_BTD, deep_BTD, ctx, prompt_B, self.config)

    def _train(self, shallow_BTD: Tensor, ctx: ForwardContext, logits_BN: Tensor, prompt_B: Tensor) -> Tensor:
        """All branches, weighted by a choice that is one-hot in the forward pass."""
        picked_BN, p_BN = choose(logits_BN, self.config)
        deep_BTD = torch.zeros_like(shallow_BTD)
        for number, branch in enumerate(self.branches):
            x_BTD = shallow_BTD
            for block in branch:
                x_BTD = block(x_BTD, ctx)
            deep_BTD = deep_BTD + (picked_BN[:, number, None, None] * x_BTD).to(deep_BTD.dtype)
        if ctx.auxiliary is not None:
            ctx.auxiliary.append(depth_loss(p_BN, self.get_buffer("depth_N"), self.config))
        return combine_depths(shallow_BTD, deep_BTD, ctx, prompt_B, self.config)

    def step_blocks(self, x_B1D: Tensor, ctx: ForwardContext, cache: Cache) -> Tensor:
        """One token of every row, each in the branch of its prompt."""
        caches = iter(cache.blocks)
        x_B1D = self.blocks[0].step(x_B1D, ctx, next(caches))
        for branch, row_R, _ in cache.plan["taken"]:
            x_R1D, ctx_R = x_B1D[row_R], ctx.of_rows(row_R)
            for block in branch:
                x_R1D = block.step(x_R1D, ctx_R, next(caches))
            x_B1D = x_B1D.index_copy(0, row_R, x_R1D)
        return x_B1D


def cost(config: ModelConfig, seq_len: int, batch_size: int, realised: Sequence[int] | None = None) -> Cost:
    """The first block, and each row's branch: by `realised`, else of the forced or intended depth. Training: all branches."""
    depths = branch_depths(config)
    wanted = config.forced_depth or config.depth_ratio * config.n_layers
    nearest = 1 + min(depths, key=lambda depth: abs(1 + depth - wanted))
    taken = realised or [nearest] * batch_size
    sheet, train = CostSheet(config, seq_len, batch_size), CostSheet(config, seq_len, batch_size)
    for sums in (sheet, train):
        mixer_cost(sums.at("blocks.0"), seq_len)
        mlp_cost(sums, seq_len)
        if config.forced_depth is None:
            sums.matmul("gate", 1, config.d_model, config.n_branches, at="gate")
    stream = Amount(config.d_model) * (batch_size * seq_len)
    sheet.outer = train.outer = stream * 2  # the shallow stream, and the one that collects the branches' rows
    # The shallow stream is kept once, however many branches read it.
    copies = Amount(upcast=2 * config.d_model) * (batch_size * seq_len)
    train.keep(Layer(copies * len(depths)))
    for branch, depth in enumerate(depths):
        sheet.batch_size = sum(row == 1 + depth for row in taken)
        for layer in range(depth):
            for sums in (sheet, train):
                mixer_cost(sums.at(f"branches.{branch}.{layer}"), seq_len)
                mlp_cost(sums, seq_len)
    sheet.batch_size = batch_size
    for sums in (sheet, train):
        sums.params += config.d_model * config.n_branches
    return sheet.total(training=train)


MODEL = Model(
    build=DepthBranches,
    cost=cost,
    options={
        "n_branches": 3,
        "gate": "straight_through",
        "gate_tokens": 16,
        "depth_ratio": 0.5,
        "depth_weight": 0.1,
        "forced_depth": None,
    },
    dynamic=True,
    explained=dict.fromkeys(
        ("fvcore gate", "fvcore the whole forward pass"),
        "the gate's choice is read on the host: a tracer sees no use of it, and drops the gate as dead code",
    ),
)
