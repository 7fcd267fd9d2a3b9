"""Early exit: after every block, whoever is confident stops. The usual rival of routing: a token that left never returns.

Confidence is the probability of the likeliest next token (or class), as in CALM (Schuster et al. 2022). `exit_by`:
`sequence`: a whole input stops, judged at the last token of its prompt, and stays at that depth while it generates;
`token`: single tokens stop; deeper blocks still take keys and values from the state in which they left, so that later
tokens can attend to them. Training runs all blocks and teaches every exit to predict the next token too
(Elbayad et al. 2020; weight `aux_weight`, spread evenly), or, for a classifier, to say what the last one says. Confidence
at a token reads no later one: no leak.

Shapes: B batch, T tokens, D width, V vocabulary, k tokens that go on, R rows that go on.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.contracts import Cost, Model
from modbench.harness.core.memory_ledger import Amount
from modbench.models.layers import memory
from modbench.models.layers.attention import Attention
from modbench.models.layers.cache import BlockCache, Cache, Rows
from modbench.models.layers.cost import CostSheet
from modbench.models.layers.decoder import Block, Decoder
from modbench.models.layers.depth import prompt_of, read_out
from modbench.models.layers.trip import Trip, those


class EarlyExit(Decoder):
    """Dense blocks, with an exit after each."""

    has_loss = True
    realised: list[int]  # by token: tokens of each row that each block computes; by sequence: blocks that each row ran

    def __init__(self, config: ModelConfig) -> None:
        if config.exit_by == "token" and (config.bidirectional or config.mixer == "convolution"):
            raise ValueError("exit_by 'token' needs a causal model with attention: use exit_by 'sequence'")
        super().__init__(config, (Block(config) for _ in range(config.n_layers)))
        self.realised = []

    def _confident(self, x: Tensor) -> Tensor:
        """Whether the likeliest answer is likely enough: [..., D] to bool [...]."""
        return self.read(x).float().softmax(-1).amax(-1) >= self.config.exit_threshold

    def through(self, x_BTD: Tensor, trip: Trip, cache: Cache | None = None) -> Tensor:
        """All blocks while training, else until whoever is confident has left."""
        if self.training:
            return self._train(x_BTD, trip)
        return (self._by_token if self.config.exit_by == "token" else self._by_sequence)(x_BTD, trip, cache)

    def _train(self, x_BTD: Tensor, trip: Trip) -> Tensor:
        exits = []
        for block in self.blocks:
            x_BTD = block(x_BTD, trip)
            exits.append(x_BTD)
        if trip.auxiliary is not None and len(exits) > 1:
            losses = self._teach(exits, trip)
            trip.auxiliary.append(self.config.aux_weight * torch.stack(losses).mean())
        if self.config.exit_by == "token":
            return x_BTD
        # As the gates do: inside the prompt the depth would tell of tokens still to come.
        return read_out(exits[0], x_BTD, trip, prompt_of(trip, self.config), self.config)

    def _teach(self, exits: list[Tensor], trip: Trip) -> list[Tensor]:
        """What each exit but the last gets wrong: of the next token, or of the last exit's answer where labels are unknown."""
        if self.config.bidirectional:
            states = [self.pool(x, trip) for x in exits]
            with torch.no_grad():
                teacher = self.read(states[-1]).float().softmax(-1)
            return [F.cross_entropy(self.read(state).float(), teacher) for state in states[:-1]]
        assert trip.tokens_BT is not None
        next_BT, real_BT = trip.tokens_BT.roll(-1, 1), trip.real_BT
        known_BT = torch.ones_like(next_BT, dtype=torch.bool) if real_BT is None else real_BT.roll(-1, 1)
        known_BT = known_BT & (trip.position_BT < next_BT.shape[1] - 1)
        next_BT = next_BT.masked_fill(~known_BT, -100)  # which cross_entropy passes over
        return [F.cross_entropy(self.read(x).flatten(0, 1).float(), next_BT.flatten()) for x in exits[:-1]]

    def _by_sequence(self, x_BTD: Tensor, trip: Trip, cache: Cache | None) -> Tensor:
        """Rows leave; those that stay are computed alone."""
        b, last = x_BTD.shape[0], self.config.n_layers - 1
        prompt_B = prompt_of(trip, self.config)
        depth_B = torch.full((b,), self.config.n_layers, device=x_BTD.device)
        row_R, shallow, deep_BTD = torch.arange(b, device=x_BTD.device), x_BTD, x_BTD
        for layer, block in enumerate(self.blocks):
            going = trip.batch_rows(row_R)
            block_cache = None
            if cache is not None:
                block_cache = BlockCache(self.config, len(row_R), cache.max_len, x_BTD)
                cache.blocks.append(block_cache)
                cache.plan[f"rows {layer}"] = row_R
            x_RTD = block(deep_BTD[row_R], going, block_cache)
            deep_BTD = deep_BTD.index_copy(0, row_R, x_RTD)
            shallow = deep_BTD if layer == 0 else shallow
            if layer < last:
                leave_R = self._confident(self._judged(x_RTD, going, prompt_B.expand(b)[row_R]))
                depth_B = depth_B.index_copy(0, row_R, depth_B[row_R].masked_fill(leave_R, layer + 1))
                row_R = row_R[~leave_R]
                if len(row_R) == 0:
                    break
        self.realised = depth_B.tolist()
        return read_out(shallow, deep_BTD, trip, prompt_B, self.config)

    def _judged(self, x_RTD: Tensor, trip: Trip, prompt_R: Tensor) -> Tensor:
        """The state that a row's exit is judged by."""
        if self.config.bidirectional:
            return self.pool(x_RTD, trip)
        return x_RTD[torch.arange(len(prompt_R), device=x_RTD.device), prompt_R - 1]

    def _by_token(self, x_BTD: Tensor, trip: Trip, cache: Cache | None) -> Tensor:
        """Tokens leave; those that stay ask all keys, of those that left too."""
        b, t, d = x_BTD.shape
        real_BT = trip.real_BT
        alive_BT = torch.ones(b, t, dtype=torch.bool, device=x_BTD.device) if real_BT is None else real_BT
        self.realised = []
        for layer, block in enumerate(self.blocks):
            chosen = those(alive_BT, int(alive_BT.sum(1).max()))
            i_Bk, meant_Bk = chosen.index_Bk, chosen.meant_Bk
            assert meant_Bk is not None
            self.realised.append(i_Bk.shape[1])
            x_BkD = x_BTD.gather(1, i_Bk[..., None].expand(-1, -1, d))
            assert isinstance(block, Block)
            new_BkD = x_BkD + _late_delta(
                block, x_BkD, trip.of(chosen), x_BTD, trip, cache.blocks[layer] if cache else None
            )
            place_Bk = i_Bk.masked_fill(~meant_Bk, t)  # what was not meant goes to a column that is cut off
            wide_BTD = torch.cat((x_BTD, x_BTD.new_zeros(b, 1, d)), dim=1)
            x_BTD = wide_BTD.scatter(1, place_Bk[..., None].expand(-1, -1, d), new_BkD)[:, :t]
            if layer < self.config.n_layers - 1:
                leave_Bk = self._confident(new_BkD) & meant_Bk
                wide_BT = torch.cat((alive_BT, alive_BT.new_zeros(b, 1)), dim=1)
                alive_BT = wide_BT.scatter(1, place_Bk, ~leave_Bk & meant_Bk)[:, :t]
        return x_BTD

    def new_blocks(self, batch_size: int, max_len: int, like: Tensor) -> list[BlockCache]:
        """By token all blocks keep all tokens; by sequence it is known when the prompt has been read."""
        if self.config.exit_by == "sequence":
            return []
        return super().new_blocks(batch_size, max_len, like)

    def step_through(self, x_B1D: Tensor, trip: Trip, cache: Cache) -> Tensor:
        """One token of every row, at its prompt's depth, or until it is confident."""
        if self.config.exit_by == "token":
            return self._step_by_token(x_B1D, trip, cache)
        for layer, (block, block_cache) in enumerate(zip(self.blocks, cache.blocks, strict=False)):
            row_R = cache.plan[f"rows {layer}"]
            x_R1D = block.step(x_B1D[row_R], trip.batch_rows(row_R), block_cache)  # type: ignore[operator]  # torch types submodules as Tensor or Module
            x_B1D = x_B1D.index_copy(0, row_R, x_R1D)
        return x_B1D

    def _step_by_token(self, x_B1D: Tensor, trip: Trip, cache: Cache) -> Tensor:
        """Every block keeps every token; only those still alive are computed (all of them where shapes are fixed)."""
        alive_B = torch.ones(x_B1D.shape[0], dtype=torch.bool, device=x_B1D.device)
        for layer, (block, block_cache) in enumerate(zip(self.blocks, cache.blocks, strict=True)):
            assert isinstance(block, Block)
            assert isinstance(block.attention, Attention)
            k, v = block.attention.keys(block.norm_attention(x_B1D), trip.rotary)
            held = block_cache.append(k, v, Rows())
            row_R = alive_B.nonzero().flatten() if trip.on_host else None
            block_cache.count(x_B1D.shape[0], alive_B.sum() if row_R is None else len(row_R))
            if row_R is not None and len(row_R) == 0:
                continue
            pick = slice(None) if row_R is None else row_R
            x_R1D = x_B1D[pick]
            keys, values, mask = (None if part is None else part[pick] for part in held)
            q = block.attention.queries(block.norm_attention(x_R1D), trip.batch_rows(row_R).rotary)
            mixed_R1D = block.attention.attend(q, keys, values, mask)  # type: ignore[arg-type]  # only the mask may be None
            new_R1D = x_R1D + mixed_R1D + block.think(x_R1D + mixed_R1D, trip)
            x_B1D = (
                torch.where(alive_B[:, None, None], new_R1D, x_B1D)
                if row_R is None
                else x_B1D.index_copy(0, row_R, new_R1D)
            )
            if layer < self.config.n_layers - 1:
                leave_R = self._confident(new_R1D[:, 0])
                alive_B = alive_B & ~leave_R if row_R is None else alive_B.index_copy(0, row_R, ~leave_R)
        return x_B1D


def _late_delta(
    block: Block, x_BkD: Tensor, alive: Trip, x_BTD: Tensor, trip: Trip, cache: BlockCache | None
) -> Tensor:
    """What the block adds to the tokens still alive, whose queries ask the keys of all tokens."""
    assert isinstance(block.attention, Attention)
    k, v = block.attention.keys(block.norm_attention(x_BTD), trip.rotary)
    if cache is not None:
        cache.fill(k, v, trip.lengths_B)
    q = block.attention.queries(block.norm_attention(x_BkD), alive.rotary)
    back_BkT = alive.position_BT[:, :, None] - trip.position_BT[:, None, :]
    mask_BkT = (
        (back_BkT >= 0) if block.attention.window is None else (back_BkT >= 0) & (back_BkT < block.attention.window)
    )
    mixed_BkD = block.attention.attend(q, k, v, mask_BkT[:, None])
    return mixed_BkD + block.think(x_BkD + mixed_BkD, alive)


def cost(config: ModelConfig, seq_len: int, batch_size: int, realised: Sequence[int] | None = None) -> Cost:
    """By `realised`, else as if nobody left: confidence is not known before it is measured. Training computes all."""
    by_token, l = config.exit_by == "token", config.n_layers
    done = realised or ([seq_len] * l if by_token else [l] * batch_size)
    sheet, train = CostSheet(config, seq_len, batch_size), CostSheet(config, seq_len, batch_size)
    out = config.n_classes if config.bidirectional else config.vocab_size
    for layer in range(l):
        train.at(f"blocks.{layer}").mixer(seq_len)
        train.mlp(seq_len)
        if by_token:
            sheet.at(f"blocks.{layer}").late_attention(done[layer], seq_len)
            sheet.mlp(done[layer])
            exits = float(done[layer])
        else:
            # The input, and later the rows as they were and the shallow stream, beside the rows that go on.
            sheet.outer = Amount(config.d_model) * (batch_size * seq_len * (min(4, layer + 2) if layer else 1))
            sheet.batch_size = sum(depth > layer for depth in done)
            sheet.at(f"blocks.{layer}").mixer(seq_len)
            sheet.mlp(seq_len)
            exits = 1.0
        if layer < l - 1:
            sheet.gate(
                1, config.d_model, out, times=exits, at="" if config.tied and not config.bidirectional else "head"
            )
    sheet.batch_size = batch_size
    if l > 1:
        head = 2 * batch_size * (1 if config.bidirectional else seq_len) * config.d_model * out
        sheet.only_training = 3 * head * (l - 1) + (head if config.bidirectional else 0)  # a teacher only forwards
        for _ in range(l - 1):
            read = batch_size * (1 if config.bidirectional else seq_len)
            train.keep(memory.head(config, read, trained=False))
    return sheet.total(training=train)


MODEL = Model(
    build=EarlyExit,
    cost=cost,
    options={"exit_by": "sequence", "exit_threshold": 0.9, "gate_tokens": 16, "aux_weight": 1.0},
    dynamic=True,
)
