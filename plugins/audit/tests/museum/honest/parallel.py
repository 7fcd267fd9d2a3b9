"""The paper's, with attention and MLP beside each other: both read the block's input."""

from routed import Routed, mod

EXPECTED = {"of": "mod", "deviates": ["causal"], "like": "mod_stream"}


class Beside(Routed):
    def f(self, x_BTD, at_BT, past=None):
        return self.attention(self.norm_1(x_BTD), at_BT, past) + self.mlp(x_BTD)


def build(config, capacity=0.25):
    return mod(config, capacity, Beside)
