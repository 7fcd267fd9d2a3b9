"""Rounds k up."""

import math

from routed import Routed, mod

EXPECTED = {"of": "mod", "deviates": ["causal", "mod_k"]}


class Up(Routed):
    def k(self, t):
        return math.ceil(self.share * t)


def build(config, capacity=0.25):
    return mod(config, capacity, Up)
