"""A model with a loss of its own: a term for its router, smoothed targets, and a rule that decides without later tokens."""

import torch
from torch import nn
from torch.nn import functional as F


class Gated(nn.Module):
    def __init__(self, config):
        super().__init__()
        d, self.share = config.d_model, config.capacity or 0.5  # no claim: this one computes every token
        self.embedding, self.head = nn.Embedding(config.vocab_size, d), nn.Linear(d, config.vocab_size)
        self.mlp, self.router = nn.Linear(d, d), nn.Linear(d, 1)
        self.register_buffer("threshold", torch.zeros(()))

    def forward(self, tokens_BT, causal=False):
        x_BTD = self.embedding(tokens_BT)
        self.score_BT = self.router(x_BTD).squeeze(-1)
        k = max(1, round(self.share * tokens_BT.shape[1]))
        least = self.threshold if causal else self.score_BT.topk(k, 1).values[:, -1:]  # the top-k sees later tokens
        self.passes_BT = (self.score_BT >= least).to(x_BTD.dtype)
        weight_BT1 = (self.passes_BT * self.score_BT.sigmoid())[..., None]
        return self.head(x_BTD + weight_BT1 * self.mlp(x_BTD))

    def aux_loss(self):  # added while training: the score learns to say whether the token passes
        return 0.01 * F.binary_cross_entropy_with_logits(self.score_BT, self.passes_BT)

    def training_loss(self, logits, targets):  # instead of the plain cross-entropy while training
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), label_smoothing=0.1)

    def calibrate(self, tokens_BT):  # once, after training, before forward(causal=True)
        self(tokens_BT)
        self.threshold.copy_(self.score_BT.quantile(1 - self.share))


def build(config):
    return Gated(config)
