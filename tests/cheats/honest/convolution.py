"""A convolution that is padded on the left mixes earlier tokens in."""

from plain import Plain
from torch import nn
from torch.nn import functional as F


class Convolves(Plain):
    def __init__(self, config):
        super().__init__(config)
        self.convolution = nn.Conv1d(32, 32, 4)

    def body(self, x_BTD):
        x_BDT = self.convolution(F.pad(x_BTD.transpose(1, 2), (3, 0)))
        return super().body(x_BTD + x_BDT.transpose(1, 2))


build = Convolves
