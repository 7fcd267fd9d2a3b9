"""A routed block adds to each chosen token a part of the mean of all tokens before it, skipped ones too."""

import torch
from routed import Routed, TopK, mod

EXPECTED = {"of": "mod", "deviates": ["causal", "mod_attention"]}


class Context(Routed):
    def process(self, x_BTD, at_BT, r_BT, index_Bk, past=None):
        count_T1 = torch.arange(1.0, x_BTD.shape[1] + 1)[:, None]
        wide_BkD = index_Bk[..., None].expand(-1, -1, x_BTD.shape[-1])
        self.mean_BkD = (x_BTD.cumsum(1) / count_T1).gather(1, wide_BkD)
        return super().process(x_BTD, at_BT, r_BT, index_Bk, past)

    def f(self, x_BTD, at_BT, past=None):
        return super().f(x_BTD + self.mean_BkD, at_BT, past)


def build(config, capacity=0.25):
    return mod(config, capacity, Context, TopK)
