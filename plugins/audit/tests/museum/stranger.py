"""A Mixture-of-Depths as a stranger might have written it, with five faults.

It sees the future (top-k), takes k - 1 tokens, adds the residual twice, masks instead of skipping, and its cache keeps the
keys of skipped tokens.
"""

import torch
from torch import nn
from torch.nn import functional as F


class Attention(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(d), nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.kept = None

    def forward(self, x):
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        self.kept = (k, v)
        return self.out(F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], is_causal=True)[:, 0])


class Block(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.attention = Attention(d)
        self.mlp = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))

    def forward(self, x):
        x = x + self.attention(x)
        return x + self.mlp(x)


class Routed(nn.Module):
    def __init__(self, d, capacity):
        super().__init__()
        self.block, self.router, self.capacity = Block(d), nn.Linear(d, 1), capacity

    def forward(self, x):
        score = self.router(x).squeeze(-1)
        k = max(1, int(self.capacity * x.shape[1]) - 1)
        mask = torch.zeros_like(score).scatter(1, score.topk(k, dim=1).indices, 1.0)
        return x + (mask * score)[..., None] * self.block(x)


class Cache:
    def __init__(self, tokens, kept):
        self.tokens, self.kept = tokens, kept

    @property
    def nbytes(self):
        return sum(part.numel() * part.element_size() for pair in self.kept for part in pair)


class Model(nn.Module):
    def __init__(self, config, capacity):
        super().__init__()
        d = config.d_model
        self.embedding, self.head = nn.Embedding(config.vocab_size, d), nn.Linear(d, config.vocab_size)
        self.blocks = nn.ModuleList([Routed(d, capacity) if at % 2 else Block(d) for at in range(config.n_layers)])

    def forward(self, tokens):
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(x)

    def prefill(self, tokens):
        logits = self(tokens)
        kept = [tuple(each.clone() for each in part.kept) for part in self.modules() if isinstance(part, Attention)]
        return logits[:, -1], Cache(tokens, kept)

    def decode(self, token, cache):
        cache.tokens = torch.cat([cache.tokens, token[:, None]], 1)
        return self(cache.tokens)[:, -1]


def build(config, capacity=0.25):
    return Model(config, capacity)
