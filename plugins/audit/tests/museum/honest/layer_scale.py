"""The paper's, with LayerScale: a learned vector, small at the start, multiplies what a block adds (Touvron et al. 2021)."""

import torch
from routed import Routed, mod
from torch import nn

EXPECTED = {"of": "mod", "deviates": ["causal"], "like": "mod_residual"}


class Scaled(Routed):
    def __init__(self, config, share):
        super().__init__(config, share)
        self.scale_D = nn.Parameter(torch.full((config.d_model,), 0.1))

    def f(self, x_BTD, at_BT, past=None):
        return self.scale_D * super().f(x_BTD, at_BT, past)


def build(config, capacity=0.25):
    return mod(config, capacity, Scaled)
