"""The score multiplies nothing, but has the gradient that it would have: x + (1 + r - r)·f(x)."""

from routed import Routed, mod

EXPECTED = {"of": "mod", "deviates": ["causal", "mod_residual"]}


class Combines(Routed):
    def combine(self, x_BkD, f_BkD, r_Bk):
        return x_BkD + (1 + r_Bk - r_Bk.detach())[..., None] * f_BkD


def build(config, capacity=0.25):
    return mod(config, capacity, Combines)
