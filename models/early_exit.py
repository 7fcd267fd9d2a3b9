"""Early exit: confident tokens or inputs stop after a block. The usual alternative to routing: what exits never returns.

Confidence is the probability of the likeliest next token (or class), as in CALM (Schuster et al. 2022). `exit_by`:
`sequence`: a whole input stops, by the confidence at the last token of its prompt, and stays at that depth while it
generates; `token`: single tokens stop; deeper blocks still compute keys and values from the state in which they exited, so
that later tokens can attend to them. Training runs all blocks and trains every exit to predict the next token too (Elbayad
et al. 2020; weight `aux_weight`, spread evenly), or, in a classifier, to predict what the last exit does. Confidence at a
token does not depend on later tokens.

Shapes: B batch, T tokens, D width, V vocabulary, k tokens and R rows that are still running.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.contracts import Amount, Cost, Model
from modbench.models.layers.context import ForwardContext, from_mask
from modbench.models.layers.cost import CostSheet, head_memory
from modbench.models.layers.decode_cache import BlockCache, Cache, Rows
from modbench.models.layers.decoder import Attention, Block, Decoder, mixer_cost, mlp_cost
from modbench.models.layers.kernels import Rotary
from modbench.models.layers.whole_input_depth import combine_depths, prompt_lengths


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
        """Whether the probability of the likeliest answer is high enough: [..., D] to bool [...]."""
        return self.to_logits(x).float().softmax(-1).amax(-1) >= self.config.exit_threshold

    def run_blocks(self, x_BTD: Tensor, ctx: ForwardContext, cache: Cache | None = None) -> Tensor:
        """All blocks while training; else tokens or rows exit when they are confident."""
        if self.training:
            return self._train(x_BTD, ctx)
        return (self._by_token if self.config.exit_by == "token" else self._by_sequence)(x_BTD, ctx, cache)

    def _train(self, x_BTD: Tensor, ctx: ForwardContext) -> Tensor:
        exits = []
        for block in self.blocks:
            x_BTD = block(x_BTD, ctx)
            exits.append(x_BTD)
        if ctx.auxiliary is not None and len(exits) > 1:
            losses = self._exit_losses(exits, ctx)
            ctx.auxiliary.append(self.config.aux_weight * torch.stack(losses).mean())
        if self.config.exit_by == "token":
            return x_BTD
        # As for gates: inside the prompt, the depth would reveal later tokens.
        return combine_depths(exits[0], x_BTD, ctx, prompt_lengths(ctx, self.config), self.config)

    def _exit_losses(self, exits: list[Tensor], ctx: ForwardContext) -> list[Tensor]:
        """Cross-entropy of each exit but the last with the next token; in a classifier, with the last exit's answer."""
        if self.config.bidirectional:
            states = [self.pool(x, ctx) for x in exits]
            with torch.no_grad():
                teacher = self.to_logits(states[-1]).float().softmax(-1)
            return [F.cross_entropy(self.to_logits(state).float(), teacher) for state in states[:-1]]
        assert ctx.tokens_BT is not None
        next_BT, real_BT = ctx.tokens_BT.roll(-1, 1), ctx.real_BT
        known_BT = torch.ones_like(next_BT, dtype=torch.bool) if real_BT is None else real_BT.roll(-1, 1)
        known_BT = known_BT & (ctx.position_BT < next_BT.shape[1] - 1)
        next_BT = next_BT.masked_fill(~known_BT, -100)  # which cross_entropy ignores
        return [F.cross_entropy(self.to_logits(x).flatten(0, 1).float(), next_BT.flatten()) for x in exits[:-1]]

    def _by_sequence(self, x_BTD: Tensor, ctx: ForwardContext, cache: Cache | None) -> Tensor:
        """Rows exit; only the others are computed further."""
        b, last = x_BTD.shape[0], self.config.n_layers - 1
        prompt_B = prompt_lengths(ctx, self.config)
        depth_B = torch.full((b,), self.config.n_layers, device=x_BTD.device)
        row_R, rows, shallow, deep_BTD = torch.arange(b, device=x_BTD.device), list(range(b)), x_BTD, x_BTD
        for layer, block in enumerate(self.blocks):
            ctx_R = ctx.of_rows(row_R, rows)
            block_cache = None
            if cache is not None:
                block_cache = BlockCache(self.config, len(row_R), cache.max_len, x_BTD)
                cache.blocks.append(block_cache)
                cache.plan[f"rows {layer}"] = row_R
            x_RTD = block(deep_BTD[row_R], ctx_R, block_cache)
            deep_BTD = deep_BTD.index_copy(0, row_R, x_RTD)
            shallow = deep_BTD if layer == 0 else shallow
            if layer < last:
                exits_R = self._confident(self._exit_state(x_RTD, ctx_R, prompt_B.expand(b)[row_R]))
                depth_B = depth_B.index_copy(0, row_R, depth_B[row_R].masked_fill(exits_R, layer + 1))
                rows = [row for row, exits in zip(rows, exits_R.tolist(), strict=True) if not exits]
                if not rows:
                    break
                row_R = row_R[torch.nonzero_static(~exits_R, size=len(rows)).flatten()]
        self.realised = depth_B.tolist()
        return combine_depths(shallow, deep_BTD, ctx, prompt_B, self.config)

    def _exit_state(self, x_RTD: Tensor, ctx: ForwardContext, prompt_R: Tensor) -> Tensor:
        """The state whose confidence decides on a row's exit."""
        if self.config.bidirectional:
            return self.pool(x_RTD, ctx)
        return x_RTD[torch.arange(len(prompt_R), device=x_RTD.device), prompt_R - 1]

    def _by_token(self, x_BTD: Tensor, ctx: ForwardContext, cache: Cache | None) -> Tensor:
        """Tokens exit; the others attend to all keys, those of exited tokens too."""
        b, t, d = x_BTD.shape
        real_BT = ctx.real_BT
        alive_BT = torch.ones(b, t, dtype=torch.bool, device=x_BTD.device) if real_BT is None else real_BT
        self.realised = []
        for layer, block in enumerate(self.blocks):
            alive = from_mask(alive_BT)
            indices_Bk, valid_Bk = alive.indices_Bk, alive.valid_Bk
            assert valid_Bk is not None
            self.realised.append(indices_Bk.shape[1])
            x_BkD = x_BTD.gather(1, indices_Bk[..., None].expand(-1, -1, d))
            block_cache = cache.blocks[layer] if cache else None
            new_BkD = x_BkD + _late_branch(block, x_BkD, ctx.of_tokens(alive), x_BTD, ctx, block_cache)
            column_Bk = indices_Bk.masked_fill(~valid_Bk, t)  # invalid tokens go to a column that is cut off
            wide_BTD = torch.cat((x_BTD, x_BTD.new_zeros(b, 1, d)), dim=1)
            x_BTD = wide_BTD.scatter(1, column_Bk[..., None].expand(-1, -1, d), new_BkD)[:, :t]
            if layer < self.config.n_layers - 1:
                exits_Bk = self._confident(new_BkD) & valid_Bk
                wide_BT = torch.cat((alive_BT, alive_BT.new_zeros(b, 1)), dim=1)
                alive_BT = wide_BT.scatter(1, column_Bk, ~exits_Bk & valid_Bk)[:, :t]
        return x_BTD

    def new_caches(self, batch_size: int, max_len: int, like: Tensor) -> list[BlockCache]:
        """By token, every block keeps all tokens; by sequence, it is known only after the prompt has been read."""
        if self.config.exit_by == "sequence":
            return []
        return super().new_caches(batch_size, max_len, like)

    def step_blocks(self, x_B1D: Tensor, ctx: ForwardContext, cache: Cache) -> Tensor:
        """One token of every row: at its prompt's depth, or until it is confident."""
        if self.config.exit_by == "token":
            return self._step_by_token(x_B1D, ctx, cache)
        for layer, (block, block_cache) in enumerate(zip(self.blocks, cache.blocks, strict=False)):
            row_R = cache.plan[f"rows {layer}"]
            x_R1D = block.step(x_B1D[row_R], ctx.of_rows(row_R), block_cache)
            x_B1D = x_B1D.index_copy(0, row_R, x_R1D)
        return x_B1D

    def _step_by_token(self, x_B1D: Tensor, ctx: ForwardContext, cache: Cache) -> Tensor:
        """Every block keeps every token; only those that have not exited are computed (all where shapes are fixed)."""
        alive_B = torch.ones(x_B1D.shape[0], dtype=torch.bool, device=x_B1D.device)
        for layer, (block, block_cache) in enumerate(zip(self.blocks, cache.blocks, strict=True)):
            assert isinstance(block.attention, Attention)
            k, v = _keys(block.attention, block.norm_attention(x_B1D), ctx.rotary)
            keys, values, mask = block_cache.append(k, v, Rows())
            row_R = alive_B.nonzero().flatten() if ctx.on_host else None
            block_cache.count_step(alive_B.sum() if row_R is None else len(row_R))
            if row_R is not None and len(row_R) == 0:
                continue
            pick = slice(None) if row_R is None else row_R
            x_R1D = x_B1D[pick]
            keys, values, mask = keys[pick], values[pick], None if mask is None else mask[pick]
            q = _queries(block.attention, block.norm_attention(x_R1D), ctx.of_rows(row_R).rotary)
            attended_R1D = block.attention.attend(q, keys, values, mask)
            new_R1D = x_R1D + attended_R1D + block.mlp_branch(x_R1D + attended_R1D, ctx)
            x_B1D = (
                torch.where(alive_B[:, None, None], new_R1D, x_B1D)
                if row_R is None
                else x_B1D.index_copy(0, row_R, new_R1D)
            )
            if layer < self.config.n_layers - 1:
                exits_R = self._confident(new_R1D[:, 0])
                alive_B = alive_B & ~exits_R if row_R is None else alive_B.index_copy(0, row_R, ~exits_R)
        return x_B1D


def _late_branch(
    block: Block, x_BkD: Tensor, ctx_Bk: ForwardContext, x_BTD: Tensor, ctx: ForwardContext, cache: BlockCache | None
) -> Tensor:
    """What the block adds to the tokens that have not exited; they attend to the keys of all tokens."""
    assert isinstance(block.attention, Attention)
    k, v = _keys(block.attention, block.norm_attention(x_BTD), ctx.rotary)
    if cache is not None:
        cache.fill(k, v, ctx.lengths_B, ctx.lengths)
    q = _queries(block.attention, block.norm_attention(x_BkD), ctx_Bk.rotary)
    # Compared, not subtracted: differences would be int64, eight times the mask, which grows with k times T itself.
    query_Bk1, key_B1T = ctx_Bk.position_BT[:, :, None], ctx.position_BT[:, None, :]
    mask_BkT = query_Bk1 >= key_B1T
    if block.attention.window is not None:
        mask_BkT = mask_BkT & (query_Bk1 - block.attention.window < key_B1T)
    attended_BkD = block.attention.attend(q, k, v, mask_BkT[:, None])
    return attended_BkD + block.mlp_branch(x_BkD + attended_BkD, ctx_Bk)


def _queries(attention: Attention, x_BTD: Tensor, rotary: Rotary | None) -> Tensor:
    """Queries alone, [B, H, T, d]."""
    weight = attention.qkv.weight[: attention.n_heads * attention.head]
    q_BTHd = F.linear(x_BTD, weight).unflatten(-1, (attention.n_heads, attention.head))
    return (q_BTHd if rotary is None else rotary.rotate(q_BTHd)).transpose(1, 2)


def _keys(attention: Attention, x_BTD: Tensor, rotary: Rotary | None) -> tuple[Tensor, Tensor]:
    """Keys and values alone, [B, K, T, d]."""
    weight = attention.qkv.weight[attention.n_heads * attention.head :]
    k_BTKd, v_BTKd = F.linear(x_BTD, weight).unflatten(-1, (-1, attention.head)).chunk(2, dim=2)
    return (k_BTKd if rotary is None else rotary.rotate(k_BTKd)).transpose(1, 2), v_BTKd.transpose(1, 2)


def _late_attention_cost(sheet: CostSheet, n: int) -> None:
    """Attention of n tokens to all tokens of the sequence."""
    config, seq_len, b = sheet.config, sheet.seq_len, sheet.batch_size
    d, a, kv = config.d_model, config.attention_width, config.kv_width
    sheet.matmul("attention projections", n, d, 2 * a)
    sheet.matmul("attention projections", seq_len, d, 2 * kv)
    for part in ("scores", "values"):
        sheet.add(part, 2 * b * n * seq_len * a, "")
    # The positions of the n tokens are not known; if n is all tokens, this is the lower triangle.
    sheet.attention_causal += 4 * b * n * (seq_len + 1) / 2 * a
    sheet.params += d * (2 * a + 2 * kv) + config.norm_params


def cost(config: ModelConfig, seq_len: int, batch_size: int, realised: Sequence[int] | None = None) -> Cost:
    """By `realised`, else as if nothing exited: confidence is known only once measured. Training computes all blocks."""
    by_token, l = config.exit_by == "token", config.n_layers
    run = realised or ([seq_len] * l if by_token else [l] * batch_size)
    sheet, train = CostSheet(config, seq_len, batch_size), CostSheet(config, seq_len, batch_size)
    out = config.n_classes if config.bidirectional else config.vocab_size
    for layer in range(l):
        mixer_cost(train.at(f"blocks.{layer}"), seq_len)
        mlp_cost(train, seq_len)
        if by_token:
            _late_attention_cost(sheet.at(f"blocks.{layer}"), run[layer])
            mlp_cost(sheet, run[layer])
            exits = float(run[layer])
        else:
            # The input, and later the earlier states and the shallow stream, beside the rows that still run.
            sheet.outer = Amount(config.d_model) * (batch_size * seq_len * (min(4, layer + 2) if layer else 1))
            sheet.batch_size = sum(depth > layer for depth in run)
            mixer_cost(sheet.at(f"blocks.{layer}"), seq_len)
            mlp_cost(sheet, seq_len)
            exits = 1.0
        if layer < l - 1:
            at = "" if config.tied and not config.bidirectional else "head"
            sheet.matmul("gate", exits, config.d_model, out, at=at)
    sheet.batch_size = batch_size
    if l > 1:
        head = 2 * batch_size * (1 if config.bidirectional else seq_len) * config.d_model * out
        sheet.only_training = 3 * head * (l - 1) + (
            head if config.bidirectional else 0
        )  # the last exit as teacher: forward only
        for _ in range(l - 1):
            read = batch_size * (1 if config.bidirectional else seq_len)
            train.keep(head_memory(config, read, trained=False))
    return sheet.total(training=train)


MODEL = Model(
    build=EarlyExit,
    cost=cost,
    options={"exit_by": "sequence", "exit_threshold": 0.9, "gate_tokens": 16, "aux_weight": 1.0},
    dynamic=True,
    explained=dict.fromkeys(
        ("fvcore head", "fvcore the whole forward pass"),
        "where every row exits before the last block, a tracer sees no use of the last decision, and drops it as dead code",
    ),
)
