"""Takes eight tokens of every sequence, however long it is."""

from routed import Routed, mod

EXPECTED = {"of": "mod", "deviates": ["causal", "mod_k"]}


class Eight(Routed):
    def k(self, t):
        return min(8, t)


def build(config, capacity=0.25):
    return mod(config, capacity, Eight)
