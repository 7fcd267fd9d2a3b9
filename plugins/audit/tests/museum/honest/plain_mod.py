"""The paper's: every second block processes the top-k of each sequence."""

from routed import mod

EXPECTED = {"of": "mod", "deviates": ["causal"], "like": "mod_k"}


def build(config, capacity=0.25):
    return mod(config, capacity)
