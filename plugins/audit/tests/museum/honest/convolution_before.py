"""A convolution over each token and the three before it stands in front of the blocks."""

from small import Plain, dense
from torch import nn
from torch.nn import functional as F

EXPECTED = {"deviates": [], "like": "causal"}


class Convolves(Plain):
    def __init__(self, config, blocks):
        super().__init__(config, blocks)
        self.mix = nn.Conv1d(config.d_model, config.d_model, 4)

    def body(self, x_BTD, at_BT, cache, causal):
        return super().body(x_BTD + self.mix(F.pad(x_BTD.mT, (3, 0))).mT, at_BT, cache, causal)


def build(config):
    return dense(config, model=Convolves)
