"""The score is cut from the graph where it multiplies: no gradient reaches the router."""

from routed import Routed, mod

EXPECTED = {"of": "mod", "deviates": ["causal", "mod_gradient"]}


class Combines(Routed):
    def combine(self, x_BkD, f_BkD, r_Bk):
        return x_BkD + r_Bk[..., None].detach() * f_BkD


def build(config, capacity=0.25):
    return mod(config, capacity, Combines)
