"""Every expert computes every token in one product, and each token's own result is taken from them afterwards."""

import torch
from experts import Experts
from small import dense

EXPECTED = {"of": "moe", "deviates": ["zeroed", "moe_experts"]}


class Stacked(Experts):
    def of_experts(self, x_ND, weight_N, expert_N):
        y_END = torch.stack([self.expert(i, x_ND) for i in range(self.n_experts)])
        return weight_N[:, None] * y_END[expert_N, torch.arange(len(expert_N))]


def build(config):
    return dense(config, Stacked)
