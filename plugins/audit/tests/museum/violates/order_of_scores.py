"""Chosen tokens stand in the order of their scores, and the causal mask follows this order."""

from routed import Routed, mod

EXPECTED = {"of": "mod", "deviates": ["causal", "mod_attention"]}


class Unsorted(Routed):
    def top_k(self, r_BT):
        return r_BT.topk(self.k(r_BT.shape[1])).indices


def build(config, capacity=0.25):
    return mod(config, capacity, Unsorted)
