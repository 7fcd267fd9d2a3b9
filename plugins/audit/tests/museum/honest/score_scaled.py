"""The paper's; the router's output is multiplied by a constant before it decides and multiplies."""

from routed import Routed, mod

EXPECTED = {"of": "mod", "deviates": ["causal"], "like": "mod_residual"}


class Scaled(Routed):
    def score(self, x_BTD):
        return 0.5 * super().score(x_BTD)


def build(config, capacity=0.25):
    return mod(config, capacity, Scaled)
