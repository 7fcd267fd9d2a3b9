"""A gated MLP whose ReLU makes exact zeros, by which half of its hidden units are multiplied."""

from small import Block, dense
from torch import nn

EXPECTED = {"deviates": [], "like": "zeroed"}


class Gated(Block):
    def __init__(self, config):
        super().__init__(config)
        self.gate = nn.Linear(config.d_model, 4 * config.d_model)

    def mlp(self, x_BTD):
        x_BTD = self.norm_2(x_BTD)
        return self.down(self.gate(x_BTD).relu() * self.up(x_BTD))


def build(config):
    return dense(config, Gated)
