"""A routed block's cache has a slot for every token that was read, and attention masks the empty ones."""

import torch
from attention import Attention
from routed import Routed, mod

EXPECTED = {"of": "mod", "deviates": ["causal", "saves"]}


class Slots(Attention):
    def forward(self, x_BTD, at_BT, past=None):
        if past is None:
            return super().forward(x_BTD, at_BT)
        q, *new = self.project(x_BTD, at_BT)
        taken = torch.isin(torch.arange(past[0].shape[2]), at_BT[0])
        for slots, kept in zip(past, new, strict=True):
            slots[:, :, taken] = kept
        filled_S = past[0].abs().sum((0, 1, 3)) > 0
        seen_TS = filled_S & (torch.arange(len(filled_S)) <= at_BT[0, :, None])
        return self.attend(q, *past, attn_mask=seen_TS)


class Wide(Routed):
    def __init__(self, config, share):
        super().__init__(config, share)
        self.attention, self.heads = Slots(config), config.n_heads

    def process(self, x_BTD, at_BT, r_BT, index_Bk, past=None):
        if past is not None:  # room for the new tokens, chosen or not
            empty = x_BTD.new_zeros(1, self.heads, x_BTD.shape[1], x_BTD.shape[2] // self.heads)
            past[:] = [torch.cat([old, empty], 2) for old in past] if past else [empty, empty.clone()]
        return super().process(x_BTD, at_BT, r_BT, index_Bk, past)


def build(config, capacity=0.25):
    return mod(config, capacity, Wide)
