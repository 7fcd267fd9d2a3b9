"""Every block is routed, not every second one."""

from routed import mod

EXPECTED = {"of": "mod", "deviates": ["causal", "mod_blocks"]}


def build(config, capacity=0.25):
    return mod(config, capacity, every=1)
