"""Depth predictor: a separate small network reads the prompt and says how many blocks the whole input gets.

After BlockDrop (Wu et al. 2018) and the sequence-level depth of Elbayad et al. 2020 (arXiv 1910.10073): an MLP over the
mean embedding of the prompt, its input detached, picks a depth from 1 to `n_layers`. Training computes all blocks and
switches them by a straight-through choice; otherwise a batch is sorted by depth and skipped blocks are not computed.
In a causal model the gate may read only the prompt, and nothing leaks (see `layers/depth.py`).

Shapes: B batch, T tokens, D width, L layers, n rows that go on.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.contracts import Cost, Model
from modbench.harness.core.memory_ledger import Amount
from modbench.models.layers import memory
from modbench.models.layers.cache import BlockCache, Cache
from modbench.models.layers.cost import CostSheet
from modbench.models.layers.decoder import Block, Decoder
from modbench.models.layers.depth import bucket, choose, depth_loss, forced, prompt_of, read_out, summary
from modbench.models.layers.trip import Trip


class DepthPredictor(Decoder):
    """Dense blocks, of which an input runs the first so many as the predictor says."""

    has_loss = True
    realised: list[int]  # blocks that each row of the last call ran

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, (Block(config) for _ in range(config.n_layers)))
        w = config.predictor_width
        self.predictor = nn.Sequential(nn.Linear(config.d_model, w), nn.SiLU(), nn.Linear(w, config.n_layers))
        self.register_buffer("depth_L", torch.arange(1.0, config.n_layers + 1), persistent=False)
        self.realised = []
        self.finish()

    def _logits(self, x_BTD: Tensor, prompt_B: Tensor) -> Tensor:
        if self.config.forced_depth is not None:
            return forced(self.config.forced_depth - 1, self.config.n_layers, x_BTD)
        return self.predictor(summary(x_BTD, prompt_B).detach())  # type: ignore[no-any-return]  # torch types calls as Any

    def through(self, x_BTD: Tensor, trip: Trip, cache: Cache | None = None) -> Tensor:
        """The blocks that each row gets."""
        prompt_B = prompt_of(trip, self.config)
        logits_BL = self._logits(x_BTD, prompt_B)
        if self.training:
            return self._train(x_BTD, trip, logits_BL, prompt_B)
        order_B, back_B, counts, self.realised = bucket(logits_BL.argmax(-1) + 1, self.config.n_layers)
        x_BTD, going, done, shallow = x_BTD[order_B], trip.batch_rows(order_B), list[Tensor](), x_BTD
        for layer, n in enumerate(counts):
            if n < len(x_BTD):  # a view, however empty, keeps all rows alive
                done.append(x_BTD[n:])
                x_BTD, going = x_BTD[:n], trip.batch_rows(order_B[:n])
            if n == 0:
                break
            block_cache = None
            if cache is not None:
                block_cache = BlockCache(self.config, n, cache.max_len, x_BTD)
                cache.blocks.append(block_cache)
            x_BTD = self.blocks[layer](x_BTD, going, block_cache)
            shallow = x_BTD if layer == 0 else shallow
        if cache is not None:
            cache.plan = {"order_B": order_B, "back_B": back_B}
        deep_BTD = torch.cat((x_BTD, *reversed(done)))[back_B]
        return read_out(shallow[back_B], deep_BTD, trip, prompt_B, self.config)

    def _train(self, x_BTD: Tensor, trip: Trip, logits_BL: Tensor, prompt_B: Tensor) -> Tensor:
        """All blocks, each switched on for the rows that are deep enough."""
        picked_BL, p_BL = choose(logits_BL, self.config)
        runs_BL = picked_BL.flip(-1).cumsum(-1).flip(-1)  # block l runs where the depth is over l
        shallow = x_BTD
        for layer, block in enumerate(self.blocks):
            delta_BTD = block.delta(x_BTD, trip)  # type: ignore[operator]  # torch types submodules as Tensor or Module
            x_BTD = x_BTD + (runs_BL[:, layer, None, None] * delta_BTD).to(x_BTD.dtype)
            shallow = x_BTD if layer == 0 else shallow
        if trip.auxiliary is not None:
            trip.auxiliary.append(depth_loss(p_BL, self.get_buffer("depth_L"), self.config))
        return read_out(shallow, x_BTD, trip, prompt_B, self.config)

    def new_blocks(self, batch_size: int, max_len: int, like: Tensor) -> list[BlockCache]:  # noqa: ARG002  # as the base has it
        """None yet: how many rows a block gets is known when the prompt has been read."""
        return []

    def step_through(self, x_B1D: Tensor, trip: Trip, cache: Cache) -> Tensor:
        """One token of every row, each at the depth of its prompt."""
        order_B, done = cache.plan["order_B"], []
        x_B1D = x_B1D[order_B]
        for block, block_cache in zip(self.blocks, cache.blocks, strict=False):
            n = block_cache.batch_size
            done.append(x_B1D[n:])
            x_B1D = block.step(x_B1D[:n], trip.batch_rows(order_B[:n]), block_cache)  # type: ignore[operator]  # as above
        return torch.cat((x_B1D, *reversed(done)))[cache.plan["back_B"]]


def cost(config: ModelConfig, seq_len: int, batch_size: int, realised: Sequence[int] | None = None) -> Cost:
    """Each row its own depth: what `realised` says, else the forced or intended one. Training computes all blocks."""
    depths = realised or [config.forced_depth or max(1, round(config.depth_ratio * config.n_layers))] * batch_size
    sheet, train = CostSheet(config, seq_len, batch_size), CostSheet(config, seq_len, batch_size)
    sheet.outer = Amount(config.d_model) * (
        batch_size * seq_len
    )  # the shallow stream is kept for the prompt's positions
    for layer in range(config.n_layers):
        train.at(f"blocks.{layer}").mixer(seq_len)
        train.mlp(seq_len)
        train.keep(memory.switched(config, batch_size * seq_len))
        sheet.batch_size = sum(depth > layer for depth in depths)
        sheet.at(f"blocks.{layer}").mixer(seq_len)
        sheet.mlp(seq_len)
    sheet.batch_size = batch_size
    w = config.predictor_width
    for sums in (sheet, train):
        sums.params += config.d_model * w + w + (w + 1) * config.n_layers
    if config.forced_depth is None:
        gate = 2 * batch_size * w
        sheet.gate(1, config.d_model, w, at="predictor")
        sheet.gate(1, w, config.n_layers, at="predictor")
        # Its input is detached: no gradient goes on to it.
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
