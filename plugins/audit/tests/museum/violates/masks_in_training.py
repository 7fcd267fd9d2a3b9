"""Skips tokens in evaluation, and computes every one in training, where it multiplies by 0."""

from masks import Masked
from routed import Routed, skipper

EXPECTED = {"deviates": [], "shows": ["zeroed", "training"]}


class Early(Masked):
    def drop(self, x_BTD, f_BTD, chosen_BT):
        return x_BTD + chosen_BT[..., None].to(f_BTD.dtype) * f_BTD

    def forward(self, x_BTD, at_BT, cache=None, causal=True):
        kind = Masked if self.training else Routed
        return kind.forward(self, x_BTD, at_BT, cache, causal)


def build(config, capacity=0.25):
    return skipper(config, capacity, Early)
