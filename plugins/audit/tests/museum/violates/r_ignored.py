"""The score decides, and multiplies nothing: x + f(x)."""

from routed import Routed, mod

EXPECTED = {"of": "mod", "deviates": ["causal", "mod_residual", "mod_gradient"]}


class Combines(Routed):
    def combine(self, x_BkD, f_BkD, r_Bk):
        return x_BkD + f_BkD


def build(config, capacity=0.25):
    return mod(config, capacity, Combines)
