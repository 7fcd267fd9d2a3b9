"""What pieces that exit early share: a token leaves after the block at which a gate says so, and stays as it is.

Later blocks compute keys and values of tokens that left, for tokens that go on, and nothing else of them. Dimensions: as in
`small.py`, R tokens of one row that go on.
"""

import torch
from attention import rotate
from small import Block, Dense, Plain
from torch import nn
from torch.nn import functional as F


class Exiting(Block):
    def new_cache(self, rows):
        return [[] for _ in range(rows)]

    def keys_values(self, x_1TD, at_1T):
        """Of every token of a row; queries are not computed."""
        d, heads = x_1TD.shape[-1], self.attention.heads
        kv_1TD = F.linear(self.norm_1(x_1TD), self.attention.qkv.weight[d:]).chunk(2, -1)
        k, v = (y.unflatten(-1, (heads, -1)).transpose(1, 2) for y in kv_1TD)
        return rotate(k, at_1T), v.clone()

    def row(self, x_1TD, at_1T, past, goes_on_T):
        new, taken_R = self.keys_values(x_1TD, at_1T), goes_on_T.nonzero()[:, 0]
        k, v = new if not past else (torch.cat(pair, 2) for pair in zip(past, new, strict=True))
        if past is not None:
            past[:] = [k, v]
        if not len(taken_R):
            return x_1TD
        x_1RD, heads, d = x_1TD[:, taken_R], self.attention.heads, x_1TD.shape[-1]
        q = F.linear(self.norm_1(x_1RD), self.attention.qkv.weight[:d]).unflatten(-1, (heads, -1)).transpose(1, 2)
        q = rotate(q, at_1T[:, taken_R])
        seen_RS = at_1T[0, taken_R, None] >= torch.arange(k.shape[2])
        y_1RD = self.attention.attend(q, k, v, attn_mask=seen_RS)
        y_1RD = y_1RD + self.mlp(x_1RD + y_1RD)
        return x_1TD.index_copy(1, taken_R, x_1RD + y_1RD)

    def forward(self, x_BTD, at_BT, cache, goes_on_BT):
        rows = range(len(x_BTD))
        past = [None] * len(rows) if cache is None else cache
        return torch.cat([self.row(x_BTD[b : b + 1], at_BT[b : b + 1], past[b], goes_on_BT[b]) for b in rows])


class Gated(Plain):  # cannot generate
    def __init__(self, config, blocks):
        super().__init__(config, blocks)
        self.gates = nn.ModuleList(nn.Linear(config.d_model, 1) for _ in self.blocks[1:])

    def body(self, x_BTD, at_BT, cache, causal):
        goes_on_BT = torch.ones_like(at_BT, dtype=torch.bool)
        for i, block in enumerate(self.blocks):
            if i:
                goes_on_BT = goes_on_BT & (self.gates[i - 1](x_BTD)[..., 0] < 0)
            x_BTD = block(x_BTD, at_BT, None if cache is None else cache[i], goes_on_BT)
        return x_BTD


class Exits(Gated, Dense):
    pass
