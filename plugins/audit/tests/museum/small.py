"""What the pieces change: a small dense decoder with rotary attention and a cache. `routed.py` makes it skip tokens.

Dimensions: B rows, T tokens, D width, H heads, d a head's width, S cached tokens.
"""

import torch
from attention import Attention
from torch import nn
from torch.nn import functional as F


class Cache(list):  # of each block a list of [] or [k_BHSd, v_BHSd]: one for the batch, or one for each row
    length = 0  # tokens that were read

    @property
    def nbytes(self):
        return sum(kept.nbytes for block in self for past in block for kept in past)


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        d = config.d_model
        self.norm_1, self.norm_2, self.attention = nn.RMSNorm(d), nn.RMSNorm(d), Attention(config)
        self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def mlp(self, x_BTD):
        return self.down(F.gelu(self.up(self.norm_2(x_BTD))))

    def f(self, x_BTD, at_BT, past=None):
        y_BTD = self.attention(self.norm_1(x_BTD), at_BT, past)
        return y_BTD + self.mlp(x_BTD + y_BTD)

    def new_cache(self, rows):
        return [[]]

    def forward(self, x_BTD, at_BT, cache=None, causal=True):
        return x_BTD + self.f(x_BTD, at_BT, None if cache is None else cache[0])


class Plain(nn.Module):  # cannot generate
    def __init__(self, config, blocks):
        super().__init__()
        self.embedding, self.blocks = nn.Embedding(config.vocab_size, config.d_model), nn.ModuleList(blocks)
        self.norm, self.head = nn.RMSNorm(config.d_model), nn.Linear(config.d_model, config.vocab_size, bias=False)

    def run(self, tokens_BT, cache=None, causal=True):
        start = 0 if cache is None else cache.length
        at_BT = torch.arange(start, start + tokens_BT.shape[1]).expand_as(tokens_BT)
        x_BTD = self.body(self.embedding(tokens_BT), at_BT, cache, causal)
        if cache is not None:
            cache.length += tokens_BT.shape[1]
        return self.head(self.norm(x_BTD))

    def body(self, x_BTD, at_BT, cache, causal):
        for i, block in enumerate(self.blocks):
            x_BTD = block(x_BTD, at_BT, None if cache is None else cache[i], causal)
        return x_BTD

    def forward(self, tokens_BT):
        return self.run(tokens_BT)


class Dense(Plain):
    def prefill(self, tokens_BT):
        cache = Cache(block.new_cache(len(tokens_BT)) for block in self.blocks)
        return self.run(tokens_BT, cache)[:, -1], cache

    def decode(self, tokens_B, cache):
        return self.run(tokens_B[:, None], cache)[:, -1]


def dense(config, block=Block, model=Dense):
    return model(config, (block(config) for _ in range(config.n_layers)))
