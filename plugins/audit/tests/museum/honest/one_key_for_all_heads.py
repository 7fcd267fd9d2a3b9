"""All heads share one key and one value, so that the cache is smaller than that of full attention."""

from attention import Attention, rotate
from small import Block, dense
from torch import nn

EXPECTED = {"deviates": [], "like": "saves"}


class Shared(Attention):
    def __init__(self, config):
        super().__init__(config)
        self.width = config.d_model // config.n_heads
        self.qkv = nn.Linear(config.d_model, config.d_model + 2 * self.width)

    def project(self, x_BTD, at_BT):
        q, k, v = self.qkv(x_BTD).split([self.heads * self.width, self.width, self.width], -1)
        q, k = rotate(q.unflatten(-1, (self.heads, -1)).transpose(1, 2), at_BT), rotate(k[:, None], at_BT)
        return q, k, v[:, None].clone()

    def attend(self, q, k, v, **how):
        return super().attend(q, k, v, enable_gqa=True, **how)


class Small(Block):
    def __init__(self, config):
        super().__init__(config)
        self.attention = Shared(config)


def build(config):
    return dense(config, Small)
