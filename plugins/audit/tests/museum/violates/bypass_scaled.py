"""Tokens that bypass a block leave it a tenth smaller."""

from routed import Routed, mod

EXPECTED = {"of": "mod", "deviates": ["causal", "mod_bypass"]}


class Smaller(Routed):
    def process(self, x_BTD, at_BT, r_BT, index_Bk, past=None):
        wide_BkD = index_Bk[..., None].expand(-1, -1, x_BTD.shape[-1])
        y_BTD = super().process(x_BTD, at_BT, r_BT, index_Bk, past)
        return (0.9 * x_BTD).scatter(1, wide_BkD, y_BTD.gather(1, wide_BkD))


def build(config, capacity=0.25):
    return mod(config, capacity, Smaller)
