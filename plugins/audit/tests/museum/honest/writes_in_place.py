"""The paper's; where nothing is to be differentiated, chosen tokens are written into the stream that the block was given."""

import torch
from routed import Routed, mod

EXPECTED = {"of": "mod", "deviates": ["causal"], "like": "mod_bypass"}


class Writes(Routed):
    def process(self, x_BTD, at_BT, r_BT, index_Bk, past=None):
        y_BTD = super().process(x_BTD, at_BT, r_BT, index_Bk, past)
        return y_BTD if torch.is_grad_enabled() else x_BTD.copy_(y_BTD)


def build(config, capacity=0.25):
    return mod(config, capacity, Writes)
