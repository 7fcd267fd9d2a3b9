"""In training a small network learns from all tokens which of them pass; it feeds a loss of its own, and no logit."""

import torch
from routed import Routed, skipper
from small import Dense
from torch import nn
from torch.nn import functional as F

EXPECTED = {"deviates": [], "like": "zeroed"}


class Predicted(Routed):
    def __init__(self, config, share):
        super().__init__(config, share)
        self.predictor = nn.Sequential(nn.Linear(config.d_model, 4), nn.ReLU(), nn.Linear(4, 1))

    def passes(self, r_BT):
        self.wanted_BT = super().passes(r_BT)
        return self.wanted_BT

    def forward(self, x_BTD, at_BT, cache=None, causal=True):
        y_BTD = super().forward(x_BTD, at_BT, cache, causal)
        if self.training:
            said_BT = self.predictor(x_BTD.detach())[..., 0]
            self.loss = F.binary_cross_entropy_with_logits(said_BT, self.wanted_BT.to(said_BT.dtype))
        return y_BTD


class Learning(Dense):
    def aux_loss(self):
        return torch.stack([block.loss for block in self.blocks[1::2]]).sum()


def build(config, capacity=0.25):
    return skipper(config, capacity, Predicted, Learning)
