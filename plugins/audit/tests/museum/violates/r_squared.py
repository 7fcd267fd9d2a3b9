"""The square of the score multiplies the block's output."""

from routed import Routed, mod

EXPECTED = {"of": "mod", "deviates": ["causal", "mod_residual"]}


class Combines(Routed):
    def combine(self, x_BkD, f_BkD, r_Bk):
        return x_BkD + r_Bk[..., None].square() * f_BkD


def build(config, capacity=0.25):
    return mod(config, capacity, Combines)
