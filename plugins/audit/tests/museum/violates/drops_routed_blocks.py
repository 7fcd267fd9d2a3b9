"""In training no routed block runs."""

from routed import Routed, skipper

EXPECTED = {"deviates": [], "shows": ["training"]}


class Absent(Routed):
    def forward(self, x_BTD, at_BT, cache=None, causal=True):
        return x_BTD if self.training else super().forward(x_BTD, at_BT, cache, causal)


def build(config, capacity=0.25):
    return skipper(config, capacity, Absent)
