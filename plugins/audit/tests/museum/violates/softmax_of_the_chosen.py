"""A softmax over the scores of the chosen tokens multiplies the block's output."""

from routed import Routed, TopK, mod

EXPECTED = {"of": "mod", "deviates": ["causal", "mod_residual"]}


class Combines(Routed):
    def combine(self, x_BkD, f_BkD, r_Bk):
        return x_BkD + r_Bk.softmax(-1)[..., None] * f_BkD


def build(config, capacity=0.25):
    return mod(config, capacity, Combines, TopK)
