"""A routed block with a stated capacity runs twice, with the same weights, on the tokens that it chose."""

import torch
from plain import Block, Plain
from torch import nn


class Twice(Block):
    capacity = 0.25

    def __init__(self):
        super().__init__()
        self.router = nn.Linear(32, 1)

    def forward(self, x_BTD):
        b, t, d = x_BTD.shape
        k = t // 4
        # Causal: of every four tokens the router chooses by what stands before them.
        first_B4 = torch.arange(0, t, 4).expand(b, k)
        scores_BT = self.router(x_BTD).squeeze(-1)
        chosen_Bk = first_B4 + (scores_BT.gather(1, first_B4) > 0).long()
        index_BkD = chosen_Bk.unsqueeze(-1).expand(-1, -1, d)
        chosen_BkD = x_BTD.gather(1, index_BkD)
        for _ in range(2):
            chosen_BkD = super().forward(chosen_BkD)
        return x_BTD.scatter(1, index_BkD, chosen_BkD)


def build(config):
    model = Plain(config)
    model.blocks[1] = Twice()
    return model
