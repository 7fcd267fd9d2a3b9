"""Each token has one of four experts, which share their second matrix; an expert computes its own tokens alone."""

import torch
from small import Block, dense
from torch import nn
from torch.nn import functional as F

EXPECTED = {"deviates": [], "like": "skips"}


class Experts(Block):
    def __init__(self, config):
        super().__init__(config)
        self.experts = nn.ModuleList(nn.Linear(config.d_model, 4 * config.d_model) for _ in range(4))
        self.choice, self.up = nn.Linear(config.d_model, 4, bias=False), None

    def mlp(self, x_BTD):
        x_ND = self.norm_2(x_BTD).flatten(0, 1)
        weight_N, expert_N = self.choice(x_ND).softmax(-1).max(-1)
        y_ND = torch.zeros_like(x_ND)
        for i, expert in enumerate(self.experts):
            rows = (expert_N == i).nonzero()[:, 0]
            if len(rows):
                y_ND = y_ND.index_copy(0, rows, weight_N[rows, None] * self.down(F.gelu(expert(x_ND[rows]))))
        return y_ND.view_as(x_BTD)


def build(config):
    return dense(config, Experts)
