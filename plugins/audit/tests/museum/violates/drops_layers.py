"""In training each block is left out with a chance of one half."""

import torch
from small import Block, dense

EXPECTED = {"deviates": [], "shows": ["training"]}


class Leaves(Block):
    def forward(self, x_BTD, at_BT, cache=None, causal=True):
        if self.training and torch.rand(()) < 0.5:
            return x_BTD
        return super().forward(x_BTD, at_BT, cache, causal)


def build(config):
    return dense(config, Leaves)
