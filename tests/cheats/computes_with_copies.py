"""Multiplies with copies of its weights, which are not the weights that a guard looks for."""

from plain import Block, Plain, mask
from torch.nn import functional as F

CAUGHT = "computes what it claims to skip"


class Copies(Block):
    capacity = 0.25

    def forward(self, x_BTD):
        up, down = self.up.weight * 1.0, self.down.weight.t().contiguous().t()
        y_BTD = F.linear(F.gelu(F.linear(x_BTD, up, self.up.bias)), down, self.down.bias)
        return x_BTD + mask(x_BTD.shape[1], 0.25) * y_BTD


def build(config):
    model = Plain(config)
    model.blocks[1] = Copies()
    return model
