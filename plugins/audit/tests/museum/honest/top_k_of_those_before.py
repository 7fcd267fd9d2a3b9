"""A token passes if its score is among the highest quarter of those up to it: a top-k that needs no later token."""

import torch
from routed import Routed, skipper
from small import Plain

EXPECTED = {"deviates": [], "like": "causal"}


class Ranks(Routed):
    def passes(self, r_BT):
        before_TT = torch.ones(r_BT.shape[1], r_BT.shape[1], dtype=torch.bool).tril()
        higher_BT = ((r_BT[:, None] > r_BT[:, :, None]) & before_TT).sum(-1)
        return higher_BT < self.share * before_TT.sum(-1)


def build(config, capacity=0.25):
    return skipper(config, capacity, Ranks, Plain)
