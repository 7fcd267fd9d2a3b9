"""Its dense blocks halve the stream: (x + f(x)) / 2."""

from routed import mod
from small import Block

EXPECTED = {"of": "mod", "deviates": ["causal", "mod_stream"]}


class Halves(Block):
    def forward(self, x_BTD, at_BT, cache=None, causal=True):
        return 0.5 * super().forward(x_BTD, at_BT, cache, causal)


def build(config, capacity=0.25):
    return mod(config, capacity, block=Halves)
