"""All routed blocks have the same router."""

from routed import mod

EXPECTED = {"of": "mod", "deviates": ["causal", "mod_routers"]}


def build(config, capacity=0.25):
    model = mod(config, capacity)
    for block in model.blocks[3::2]:
        block.router = model.blocks[1].router
    return model
