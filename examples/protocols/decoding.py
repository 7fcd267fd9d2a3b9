"""A model with a cache: `prefill` and `decode` give it prefill, decode, ttft, tokens per second and KV bytes."""

import torch
from torch import nn
from torch.nn import functional as F


class Cache(list):  # keys and values of each layer, in one tensor
    @property
    def nbytes(self):
        return sum(kv_BT2D.nbytes for kv_BT2D in self)


class Attends(nn.Module):
    def __init__(self, config):
        super().__init__()
        d, n = config.d_model, config.n_layers
        self.embedding, self.head = nn.Embedding(config.vocab_size, d), nn.Linear(d, config.vocab_size)
        self.q, self.kv = (nn.ModuleList(nn.Linear(d, width) for _ in range(n)) for width in (d, 2 * d))

    def run(self, tokens_BT, cache):
        x_BTD, empty = self.embedding(tokens_BT), not cache
        for i, (q, kv) in enumerate(zip(self.q, self.kv, strict=True)):
            cache[i:] = [kv(x_BTD)] if empty else [torch.cat([cache[i], kv(x_BTD)], 1), *cache[i + 1 :]]
            k, v = cache[i].chunk(2, -1)
            x_BTD = x_BTD + F.scaled_dot_product_attention(q(x_BTD), k, v, is_causal=empty)
        return self.head(x_BTD)

    def forward(self, tokens_BT):
        return self.run(tokens_BT, Cache())

    def prefill(self, tokens_BT):
        cache = Cache()
        return self.run(tokens_BT, cache)[:, -1], cache

    def decode(self, tokens_B, cache):
        return self.run(tokens_B[:, None], cache)[:, -1]


def build(config):
    return Attends(config)
