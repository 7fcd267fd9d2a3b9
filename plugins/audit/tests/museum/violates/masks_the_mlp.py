"""Attention is computed of the chosen tokens, the MLP of all of them, and multiplied by 0 where they were not chosen."""

import torch
from routed import Routed, skipper
from torch.nn import functional as F

EXPECTED = {"deviates": [], "shows": ["zeroed"]}


class Half(Routed):
    def process(self, x_BTD, at_BT, r_BT, index_Bk, past=None):
        mask_BT1 = torch.zeros_like(r_BT).scatter(1, index_Bk, 1.0)[..., None]
        y_BTD = torch.zeros_like(x_BTD)
        if index_Bk.numel():
            wide_BkD = index_Bk[..., None].expand(-1, -1, x_BTD.shape[-1])
            x_BkD, at_Bk = x_BTD.gather(1, wide_BkD), at_BT.gather(1, index_Bk)
            y_BTD = y_BTD.scatter(1, wide_BkD, self.attention(self.norm_1(x_BkD), at_Bk, past))
        return x_BTD + r_BT[..., None] * (y_BTD + mask_BT1 * self.wide(x_BTD + y_BTD))

    def wide(self, x_BTD):
        return self.down(F.gelu(self.up(self.norm_2(x_BTD))))


def build(config, capacity=0.25):
    return skipper(config, capacity, Half)
