"""Scores are computed without gradients: the router never learns."""

import torch
from routed import Routed, mod

EXPECTED = {"of": "mod", "deviates": ["causal", "mod_gradient"]}


class Fixed(Routed):
    def score(self, x_BTD):
        with torch.no_grad():
            return super().score(x_BTD)


def build(config, capacity=0.25):
    return mod(config, capacity, Fixed)
