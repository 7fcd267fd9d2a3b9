"""The score multiplies what the MLP adds, and not what attention adds."""

from routed import Routed, mod

EXPECTED = {"of": "mod", "deviates": ["causal", "mod_residual"]}


class Late(Routed):
    def f(self, x_BTD, at_BT, past=None):
        self.attended_BTD = self.attention(self.norm_1(x_BTD), at_BT, past)
        return self.mlp(x_BTD + self.attended_BTD)

    def combine(self, x_BkD, f_BkD, r_Bk):
        return x_BkD + self.attended_BTD + r_Bk[..., None] * f_BkD


def build(config, capacity=0.25):
    return mod(config, capacity, Late)
