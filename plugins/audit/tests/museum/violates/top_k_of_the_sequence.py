"""Takes the top-k of the whole sequence, later tokens included, in every call; it does not say that it can do otherwise."""

from routed import Routed, skipper
from small import Plain

EXPECTED = {"deviates": ["causal"]}


class Ranks(Routed):
    def forward(self, x_BTD, at_BT, cache=None, causal=True):
        return super().forward(x_BTD, at_BT, cache, causal=False)


def build(config, capacity=0.25):
    return skipper(config, capacity, Ranks, Plain)
