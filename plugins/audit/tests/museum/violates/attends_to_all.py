"""Chosen tokens attend to all earlier tokens, skipped ones too: keys and values are computed of every token."""

import torch
from routed import Routed, TopK, mod

EXPECTED = {"of": "mod", "deviates": ["causal", "mod_attention"]}


class Wide(Routed):
    def process(self, x_BTD, at_BT, r_BT, index_Bk, past=None):
        self.all = self.attention.project(self.norm_1(x_BTD), at_BT)
        return super().process(x_BTD, at_BT, r_BT, index_Bk, past)

    def f(self, x_BTD, at_BT, past=None):
        q, _, _ = self.attention.project(self.norm_1(x_BTD), at_BT)
        _, k, v = self.all
        seen_B1TS = at_BT[:, None, :, None] >= torch.arange(k.shape[2])
        y_BTD = self.attention.attend(q, k, v, attn_mask=seen_B1TS)
        return y_BTD + self.mlp(x_BTD + y_BTD)


def build(config, capacity=0.25):
    return mod(config, capacity, Wide, TopK)
