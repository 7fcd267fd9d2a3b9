"""Takes one token fewer than the paper's k."""

from routed import Routed, mod

EXPECTED = {"of": "mod", "deviates": ["causal", "mod_k"]}


class Fewer(Routed):
    def k(self, t):
        return max(1, super().k(t) - 1)


def build(config, capacity=0.25):
    return mod(config, capacity, Fewer)
