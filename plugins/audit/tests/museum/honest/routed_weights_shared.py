"""The paper's; all routed blocks share attention and MLP, and each has its own router."""

from routed import mod

EXPECTED = {"of": "mod", "deviates": ["causal"], "like": "mod_routers"}


def build(config, capacity=0.25):
    model = mod(config, capacity)
    first, *others = model.blocks[1::2]
    for block in others:
        block.attention, block.up, block.down = first.attention, first.up, first.down
    return model
