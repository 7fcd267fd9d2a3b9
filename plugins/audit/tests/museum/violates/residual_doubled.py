"""The token is added to the block's output twice: 2·x + r·f(x)."""

from routed import Routed, mod

EXPECTED = {"of": "mod", "deviates": ["causal", "mod_residual", "mod_stream"]}


class Combines(Routed):
    def combine(self, x_BkD, f_BkD, r_Bk):
        return x_BkD + (x_BkD + r_Bk[..., None] * f_BkD)


def build(config, capacity=0.25):
    return mod(config, capacity, Combines)
