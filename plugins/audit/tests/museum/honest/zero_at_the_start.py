"""Each block's output is multiplied by a learned number that starts at 0 (ReZero, Bachlechner et al. 2020)."""

import torch
from small import Block, dense
from torch import nn

EXPECTED = {"deviates": [], "like": "zeroed"}


class ReZero(Block):
    def __init__(self, config):
        super().__init__(config)
        self.scale = nn.Parameter(torch.zeros(()))

    def f(self, x_BTD, at_BT, past=None):
        return self.scale * super().f(x_BTD, at_BT, past)


def build(config):
    model = dense(config)
    model.blocks[-1] = ReZero(config)
    return model
