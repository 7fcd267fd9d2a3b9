"""Tokens above a threshold pass, which needs no later token; it states how many did."""

from plain import Block, Plain
from torch import nn


class Skips(Block):
    capacity, executed_tokens = 0.5, 0

    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(32, 1)

    def forward(self, x_BTD):
        x_ND = x_BTD.flatten(0, 1)
        score_N = self.gate(x_ND)[:, 0]
        rows_K = (score_N > 0).nonzero()[:, 0]
        self.executed_tokens = len(rows_K)
        y_KD = x_ND[rows_K] + score_N[rows_K, None] * super().forward(x_ND[rows_K])
        return x_ND.index_copy(0, rows_K, y_KD).view_as(x_BTD)


def build(config):
    model = Plain(config)
    model.blocks[1], model.blocks[2] = Skips(), Skips()
    return model
