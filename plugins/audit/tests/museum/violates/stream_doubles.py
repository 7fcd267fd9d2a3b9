"""Its dense blocks double the stream: 2·x + f(x), which later norms hide."""

from routed import mod
from small import Block

EXPECTED = {"of": "mod", "deviates": ["causal", "mod_stream"]}


class Doubles(Block):
    def forward(self, x_BTD, at_BT, cache=None, causal=True):
        return x_BTD + super().forward(x_BTD, at_BT, cache, causal)


def build(config, capacity=0.25):
    return mod(config, capacity, block=Doubles)
