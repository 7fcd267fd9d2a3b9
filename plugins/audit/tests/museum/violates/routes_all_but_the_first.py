"""Every block but the first is routed."""

from routed import Routed, mod
from small import Block

EXPECTED = {"of": "mod", "deviates": ["causal", "mod_blocks"]}


def build(config, capacity=0.25):
    model = mod(config, capacity, Routed, every=1)
    model.blocks[0] = Block(config)
    return model
