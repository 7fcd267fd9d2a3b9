"""The paper's, every second block is routed, beginning with the first."""

from routed import Routed, mod
from small import Block

EXPECTED = {"of": "mod", "deviates": ["causal"], "like": "mod_blocks"}


def build(config, capacity=0.25):
    model = mod(config, capacity)
    for i in range(len(model.blocks)):
        model.blocks[i] = Block(config) if i % 2 else Routed(config, capacity)
    return model
