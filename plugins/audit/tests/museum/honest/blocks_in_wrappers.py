"""The paper's; every block lies in a wrapper, such as a tool for adapters or for sharding puts around it."""

from routed import Routed, mod
from torch import nn

EXPECTED = {"of": "mod", "deviates": ["causal"], "like": "mod_blocks"}


class Wrapper(nn.Module):
    def __init__(self, wrapped):
        super().__init__()
        self.wrapped, self.new_cache = wrapped, wrapped.new_cache

    def forward(self, *args):
        return self.wrapped(*args)


def build(config, capacity=0.25):
    model = mod(config, capacity, Routed)
    for i in range(len(model.blocks)):
        model.blocks[i] = Wrapper(model.blocks[i])
    return model
