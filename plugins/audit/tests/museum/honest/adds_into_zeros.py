"""The paper's; what the chosen tokens get is added into zeros of the stream's shape, and that to the stream."""

import torch
from routed import Routed, mod

EXPECTED = {"of": "mod", "deviates": ["causal"], "like": "mod_bypass"}


class Adds(Routed):
    def process(self, x_BTD, at_BT, r_BT, index_Bk, past=None):
        if not index_Bk.numel():
            return x_BTD
        wide_BkD = index_Bk[..., None].expand(-1, -1, x_BTD.shape[-1])
        f_BkD = self.f(x_BTD.gather(1, wide_BkD), at_BT.gather(1, index_Bk), past)
        gated_BkD = r_BT.gather(1, index_Bk)[..., None] * f_BkD
        return x_BTD + torch.zeros_like(x_BTD).scatter_add(1, wide_BkD, gated_BkD)


def build(config, capacity=0.25):
    return mod(config, capacity, Adds)
