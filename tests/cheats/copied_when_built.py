"""Multiplies with copies that it made when it was built: nobody can tell whose rows these are, and the report says so."""

from plain import Block, Plain, mask
from torch.nn import functional as F

CAUGHT = "could not be checked"


class Early(Block):
    capacity = 0.25

    def __init__(self):
        super().__init__()
        self.copies = [part.weight.detach().clone() for part in (self.up, self.down)]

    def forward(self, x_BTD):
        up, down = self.copies
        return x_BTD + mask(x_BTD.shape[1], 0.25) * F.linear(F.gelu(F.linear(x_BTD, up)), down)


def build(config):
    model = Plain(config)
    model.blocks[1] = Early()
    return model
