"""Its cache keeps keys and values of the chosen tokens, and beside them the stream of every token at every routed block."""

import torch
from routed import Routed, mod

EXPECTED = {"of": "mod", "deviates": ["causal", "saves"]}


class Keeps(Routed):
    def forward(self, x_BTD, at_BT, cache=None, causal=True):
        if cache is not None:
            cache[-1].append(x_BTD.repeat(1, 1, 2))
            cache[-1][:] = [torch.cat(cache[-1], 1)]
        return super().forward(x_BTD, at_BT, cache, causal)

    def new_cache(self, rows):
        return [[] for _ in range(rows + 1)]


def build(config, capacity=0.25):
    return mod(config, capacity, Keeps)
