"""The paper's; the router's input is cut from the graph, so that it learns through its own weights alone."""

from routed import Routed, mod

EXPECTED = {"of": "mod", "deviates": ["causal"], "like": "mod_gradient"}


class Copies(Routed):
    def score(self, x_BTD):
        return super().score(x_BTD.detach())


def build(config, capacity=0.25):
    return mod(config, capacity, Copies)
