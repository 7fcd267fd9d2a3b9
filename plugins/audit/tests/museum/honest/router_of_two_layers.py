"""The paper's, with a small MLP as the router."""

from routed import Routed, mod
from torch import nn

EXPECTED = {"of": "mod", "deviates": ["causal"], "like": "mod_residual"}


class Deep(Routed):
    def __init__(self, config, share):
        super().__init__(config, share)
        self.router = nn.Sequential(nn.Linear(config.d_model, 16), nn.GELU(), nn.Linear(16, 1))
        nn.init.normal_(self.router[-1].weight)


def build(config, capacity=0.25):
    return mod(config, capacity, Deep)
