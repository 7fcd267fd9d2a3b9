"""What pieces with experts share: each token has one of a few experts, or a no-op, which adds nothing.

Dimensions: as in `small.py`; N tokens of the batch, E experts, R tokens that one expert takes.
"""

import torch
from small import Block
from torch import nn
from torch.nn import functional as F


class Experts(Block):
    n_experts, no_ops = 3, 0

    def __init__(self, config):
        super().__init__(config)
        d, self.up, self.down = config.d_model, None, None
        self.choice = nn.Linear(d, self.n_experts + self.no_ops, bias=False)
        self.ups = nn.ModuleList(nn.Linear(d, 2 * d) for _ in range(self.n_experts))
        self.downs = nn.ModuleList(nn.Linear(2 * d, d) for _ in range(self.n_experts))

    def expert(self, i, x_RD):
        return self.downs[i](F.gelu(self.ups[i](x_RD)))

    def mlp(self, x_BTD):
        x_ND = self.norm_2(x_BTD).flatten(0, 1)
        weight_N, expert_N = self.choice(x_ND).softmax(-1).max(-1)
        return self.of_experts(x_ND, weight_N, expert_N).view_as(x_BTD)

    def of_experts(self, x_ND, weight_N, expert_N):
        y_ND = torch.zeros_like(x_ND)
        for i in range(self.n_experts):
            rows_R = (expert_N == i).nonzero()[:, 0]
            if len(rows_R):
                y_ND = y_ND.index_copy(0, rows_R, weight_N[rows_R, None] * self.expert(i, x_ND[rows_R]))
        return y_ND


class NoOps(Experts):
    no_ops = 3
