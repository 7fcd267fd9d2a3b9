"""Every expert computes every token; `where` drops what a token did not choose, and all of it for a no-op."""

import torch
from experts import NoOps
from small import dense

EXPECTED = {"of": "mode", "deviates": ["skips", "zeroed", "moe_experts"]}


class Dropped(NoOps):
    def of_experts(self, x_ND, weight_N, expert_N):
        y_ND = torch.zeros_like(x_ND)
        for i in range(self.n_experts):
            y_ND = torch.where((expert_N == i)[:, None], weight_N[:, None] * self.expert(i, x_ND), y_ND)
        return y_ND


def build(config):
    return dense(config, Dropped)
