"""Attention of its last block has no causal mask."""

from attention import Attention
from small import Plain, dense

EXPECTED = {"deviates": ["causal"]}


class Sees(Attention):
    def attend(self, q, k, v, is_causal=False):
        return super().attend(q, k, v)


def build(config):
    model = dense(config, model=Plain)
    model.blocks[-1].attention = Sees(config)
    return model
