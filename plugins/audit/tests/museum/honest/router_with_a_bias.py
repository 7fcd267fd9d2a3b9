"""The paper's, with a bias in its routers."""

from routed import Routed, mod
from torch import nn

EXPECTED = {"of": "mod", "deviates": ["causal"], "like": "mod_residual"}


class Biased(Routed):
    def __init__(self, config, share):
        super().__init__(config, share)
        self.router = nn.Linear(config.d_model, 1)
        nn.init.normal_(self.router.weight, std=config.d_model**-0.5)
        nn.init.constant_(self.router.bias, 0.3)


def build(config, capacity=0.25):
    return mod(config, capacity, Biased)
