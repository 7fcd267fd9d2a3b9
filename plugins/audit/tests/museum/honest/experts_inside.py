"""The paper's; the MLP of a routed block is one of two experts, chosen by each token that the block processes."""

import torch
from routed import Routed, mod
from torch import nn
from torch.nn import functional as F

EXPECTED = {"of": "mod", "deviates": ["causal"], "like": "mod_gradient"}


class Experts(Routed):
    def __init__(self, config, share):
        super().__init__(config, share)
        self.other, self.choice = nn.Linear(config.d_model, 4 * config.d_model), nn.Linear(config.d_model, 2)

    def mlp(self, x_BTD):
        x_ND = self.norm_2(x_BTD).flatten(0, 1)
        first_N, y_ND = self.choice(x_ND).argmax(-1) == 0, torch.zeros_like(x_ND)
        for up, rows in ((self.up, first_N.nonzero()[:, 0]), (self.other, (~first_N).nonzero()[:, 0])):
            y_ND = y_ND.index_add(0, rows, self.down(F.gelu(up(x_ND[rows]))))
        return y_ND.view_as(x_BTD)


def build(config, capacity=0.25):
    return mod(config, capacity, Experts)
