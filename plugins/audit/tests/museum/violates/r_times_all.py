"""The score multiplies the token as well as what the block adds: r·(x + f(x))."""

from routed import Routed, mod

EXPECTED = {"of": "mod", "deviates": ["causal", "mod_residual", "mod_stream"]}


class Combines(Routed):
    def combine(self, x_BkD, f_BkD, r_Bk):
        return r_Bk[..., None] * (x_BkD + f_BkD)


def build(config, capacity=0.25):
    return mod(config, capacity, Combines)
