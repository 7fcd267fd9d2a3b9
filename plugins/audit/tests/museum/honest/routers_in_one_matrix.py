"""The paper's; the weights of all routers are the columns of one matrix."""

import torch
from routed import MoD, Routed, mod
from torch import nn

EXPECTED = {"of": "mod", "deviates": ["causal"], "like": "mod_routers"}


class Column(Routed):
    def score(self, x_BTD):
        return x_BTD @ self.column()


class Matrix(MoD):
    def __init__(self, config, blocks):
        super().__init__(config, blocks)
        routed = self.blocks[1::2]
        self.routers_DR = nn.Parameter(torch.randn(config.d_model, len(routed)) * config.d_model**-0.5)
        for i, block in enumerate(routed):
            block.router, block.column = None, lambda i=i: self.routers_DR[:, i]


def build(config, capacity=0.25):
    return mod(config, capacity, Column, Matrix)
