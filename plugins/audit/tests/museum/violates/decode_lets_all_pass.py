"""In decoding its routed blocks process every token."""

import torch
from routed import Routed, skipper

EXPECTED = {"deviates": ["decode"]}


class Passes(Routed):
    def passes(self, r_BT):
        return torch.ones_like(r_BT, dtype=torch.bool) if r_BT.shape[1] == 1 else super().passes(r_BT)


def build(config, capacity=0.25):
    return skipper(config, capacity, Passes)
