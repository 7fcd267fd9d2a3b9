"""A routed block computes and keeps keys and values of every token of a prompt, and attention masks those of skipped ones."""

import torch
from attention import Attention
from routed import Routed, mod

EXPECTED = {"of": "mod", "deviates": ["causal", "saves"]}


class Masked(Attention):
    def forward(self, x_BTD, at_BT, past=None):
        if past is None:
            return super().forward(x_BTD, at_BT)
        q, _, _ = self.project(x_BTD, at_BT)
        k, v, chosen_S = past
        seen_TS = chosen_S & (torch.arange(len(chosen_S)) <= at_BT[0, :, None])
        return self.attend(q, k, v, attn_mask=seen_TS)


class Whole(Routed):
    def __init__(self, config, share):
        super().__init__(config, share)
        self.attention = Masked(config)

    def process(self, x_BTD, at_BT, r_BT, index_Bk, past=None):
        if past is not None:
            _, k, v = self.attention.project(self.norm_1(x_BTD), at_BT)
            chosen_T = torch.isin(torch.arange(x_BTD.shape[1]), index_Bk)
            new = (k, v, chosen_T)
            past[:] = (
                [torch.cat(pair, min(2, pair[0].ndim - 1)) for pair in zip(past, new, strict=True)] if past else new
            )
        return super().process(x_BTD, at_BT, r_BT, index_Bk, past)


def build(config, capacity=0.25):
    return mod(config, capacity, Whole)
