"""In training k is drawn anew in every call."""

import torch
from routed import Routed, mod

EXPECTED = {"of": "mod", "deviates": ["causal"], "shows": ["training"]}


class Drawn(Routed):
    def k(self, t):
        return int(torch.randint(1, t + 1, ())) if self.training else super().k(t)


def build(config, capacity=0.25):
    return mod(config, capacity, Drawn)
