"""The paper's, with learned positions that are added to the embedding, and none inside attention."""

from attention import Attention
from routed import MoD, mod
from torch import nn

EXPECTED = {"of": "mod", "deviates": ["causal"], "like": "mod_attention"}


class Bare(Attention):
    def project(self, x_BTD, at_BT):
        return super().project(x_BTD, 0 * at_BT)


class Learned(MoD):
    def __init__(self, config, blocks):
        super().__init__(config, blocks)
        self.positions = nn.Embedding(4096, config.d_model)
        for block in self.blocks:
            block.attention = Bare(config)

    def body(self, x_BTD, at_BT, cache, causal):
        return super().body(x_BTD + self.positions(at_BT), at_BT, cache, causal)


def build(config, capacity=0.25):
    return mod(config, capacity, model=Learned)
