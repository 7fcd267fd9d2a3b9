"""LoRA: frozen weights, and a small product beside each that is trained."""

from plain import Plain
from torch import nn


class Adapter(nn.Module):
    def __init__(self, base, rank=4):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.a, self.b = nn.Linear(base.in_features, rank, bias=False), nn.Linear(rank, base.out_features, bias=False)

    def forward(self, x_BTD):
        return self.base(x_BTD) + self.b(self.a(x_BTD))


def build(config):
    model = Plain(config).requires_grad_(False)
    for block in model.blocks:
        block.up, block.down = Adapter(block.up), Adapter(block.down)
    return model
