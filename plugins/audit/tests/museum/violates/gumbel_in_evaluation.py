"""Adds Gumbel noise to its scores before it decides, in evaluation too."""

import torch
from routed import Routed, skipper
from small import Plain

EXPECTED = {"deviates": ["deterministic"]}


class Draws(Routed):
    def passes(self, r_BT):
        return super().passes(r_BT - (-torch.rand_like(r_BT).log()).log())


def build(config, capacity=0.25):
    return skipper(config, capacity, Draws, Plain)
