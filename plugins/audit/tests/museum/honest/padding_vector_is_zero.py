"""Token 0 has an embedding of zeros, as `padding_idx` makes it: all that attention and MLP compute of it may be small."""

from small import Dense, dense
from torch import nn

EXPECTED = {"deviates": [], "like": "zeroed"}


class Pads(Dense):
    def __init__(self, config, blocks):
        super().__init__(config, blocks)
        self.embedding = nn.Embedding(config.vocab_size, config.d_model, padding_idx=0)


def build(config):
    return dense(config, model=Pads)
