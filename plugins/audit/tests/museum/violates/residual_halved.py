"""The stream of chosen tokens is halved: x/2 + r·f(x)."""

from routed import Routed, mod

EXPECTED = {"of": "mod", "deviates": ["causal", "mod_residual", "mod_stream"]}


class Combines(Routed):
    def combine(self, x_BkD, f_BkD, r_Bk):
        return 0.5 * x_BkD + r_Bk[..., None] * f_BkD


def build(config, capacity=0.25):
    return mod(config, capacity, Combines)
