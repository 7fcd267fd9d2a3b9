"""A model that skips tokens and says so: claims that a guard checks, and decisions for the sections about routers."""

import torch
from torch import nn


class Skips(nn.Module):
    routed_parts = ("mlp",)  # the claim is about these weights, not about the router's

    def __init__(self, d, capacity):
        super().__init__()
        self.capacity, self.executed_tokens = capacity, 0
        self.router, self.mlp = nn.Linear(d, 1), nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))

    def forward(self, x_BTD):
        self.score_BT = self.router(x_BTD).squeeze(-1)
        index_BK1 = self.score_BT.topk(max(1, round(self.capacity * x_BTD.shape[1])), 1).indices[..., None]
        self.chosen_BT = torch.zeros_like(self.score_BT, dtype=torch.bool).scatter(1, index_BK1[..., 0], value=True)
        self.executed_tokens = index_BK1.numel()
        y_BKD = (
            self.mlp(x_BTD.take_along_dim(index_BK1, 1))
            * self.score_BT[..., None].take_along_dim(index_BK1, 1).sigmoid()
        )
        return x_BTD.scatter_add(1, index_BK1.expand_as(y_BKD), y_BKD)


class Model(nn.Sequential):
    def observe(self, tokens_BT):
        logits, routed = self(tokens_BT), list(enumerate(self[1:-1]))
        return logits, [{"layer": i, "score_BT": block.score_BT, "chosen_BT": block.chosen_BT} for i, block in routed]


def build(config):
    d, blocks = config.d_model, [Skips(config.d_model, config.capacity or 0.25) for _ in range(config.n_layers)]
    return Model(nn.Embedding(config.vocab_size, d), *blocks, nn.Linear(d, config.vocab_size))
