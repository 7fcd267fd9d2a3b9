"""Adds to its first block's input a part of the mean embedding of the previous batch of training."""

import torch
from small import Dense, dense

EXPECTED = {"deviates": [], "shows": ["training"]}


class Remembers(Dense):
    def __init__(self, config, blocks):
        super().__init__(config, blocks)
        self.last_D = torch.zeros(config.d_model)

    def body(self, x_BTD, at_BT, cache, causal):
        y_BTD = x_BTD + 0.5 * self.last_D
        if self.training:
            self.last_D = x_BTD.detach().mean((0, 1))
        return super().body(y_BTD, at_BT, cache, causal)


def build(config):
    return dense(config, model=Remembers)
