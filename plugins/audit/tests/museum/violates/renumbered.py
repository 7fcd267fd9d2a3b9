"""Chosen tokens are numbered anew: the first of them has position 0."""

import torch
from routed import Routed, TopK, mod

EXPECTED = {"of": "mod", "deviates": ["causal", "mod_attention"]}


class Anew(Routed):
    def f(self, x_BTD, at_BT, past=None):
        return super().f(x_BTD, torch.arange(x_BTD.shape[1]).expand_as(at_BT), past)


def build(config, capacity=0.25):
    return mod(config, capacity, Anew, TopK)
