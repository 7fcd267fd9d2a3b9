"""The paper's, with three matrices for queries, keys and values instead of one."""

from attention import Attention, rotate
from routed import Routed, mod
from torch import nn

EXPECTED = {"of": "mod", "deviates": ["causal"], "like": "mod_attention"}


class Apart(Attention):
    def __init__(self, config):
        super().__init__(config)
        d = config.d_model
        self.qkv = nn.ModuleList(nn.Linear(d, d) for _ in range(3))

    def project(self, x_BTD, at_BT):
        q, k, v = (each(x_BTD).unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in self.qkv)
        return rotate(q, at_BT), rotate(k, at_BT), v.clone()


class Three(Routed):
    def __init__(self, config, share):
        super().__init__(config, share)
        self.attention = Apart(config)


def build(config, capacity=0.25):
    return mod(config, capacity, Three)
