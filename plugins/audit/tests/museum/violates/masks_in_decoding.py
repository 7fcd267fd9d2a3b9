"""Skips tokens over a sequence, and computes every one in decoding, where it multiplies by 0."""

from masks import Masked
from routed import Routed, skipper

EXPECTED = {"deviates": [], "shows": ["zeroed"]}


class Later(Masked):
    def drop(self, x_BTD, f_BTD, chosen_BT):
        return x_BTD + chosen_BT[..., None].to(f_BTD.dtype) * f_BTD

    def forward(self, x_BTD, at_BT, cache=None, causal=True):
        kind = Masked if x_BTD.shape[1] == 1 else Routed
        return kind.forward(self, x_BTD, at_BT, cache, causal)


def build(config, capacity=0.25):
    return skipper(config, capacity, Later)
