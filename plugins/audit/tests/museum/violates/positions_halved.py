"""A routed block halves the positions of its tokens."""

from routed import Routed, mod

EXPECTED = {"of": "mod", "deviates": ["causal", "mod_attention"]}


class Halves(Routed):
    def f(self, x_BTD, at_BT, past=None):
        return super().f(x_BTD, at_BT // 2, past)


def build(config, capacity=0.25):
    return mod(config, capacity, Halves)
