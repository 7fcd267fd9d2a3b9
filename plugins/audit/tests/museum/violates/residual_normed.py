"""The stream of chosen tokens is normalised: norm(x) + r·f(x)."""

from routed import Routed, mod

EXPECTED = {"of": "mod", "deviates": ["causal", "mod_residual", "mod_stream"]}


class Post(Routed):
    def combine(self, x_BkD, f_BkD, r_Bk):
        return self.norm_1(x_BkD) + r_Bk[..., None] * f_BkD


def build(config, capacity=0.25):
    return mod(config, capacity, Post)
