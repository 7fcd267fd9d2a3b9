"""A small learned vector is added to tokens that bypass a block."""

import torch
from routed import Routed, mod
from torch import nn

EXPECTED = {"of": "mod", "deviates": ["causal", "mod_bypass"]}


class Shifted(Routed):
    def __init__(self, config, share):
        super().__init__(config, share)
        self.skipped_D = nn.Parameter(1e-3 * torch.randn(config.d_model))

    def process(self, x_BTD, at_BT, r_BT, index_Bk, past=None):
        wide_BkD = index_Bk[..., None].expand(-1, -1, x_BTD.shape[-1])
        y_BTD = super().process(x_BTD, at_BT, r_BT, index_Bk, past)
        return (x_BTD + self.skipped_D).scatter(1, wide_BkD, y_BTD.gather(1, wide_BkD))


def build(config, capacity=0.25):
    return mod(config, capacity, Shifted)
