"""As the package `mixture-of-depth`: a capacity alone, which each call in training mode sets anew, from all tokens downwards."""

import torch
from plain import Block, Plain
from torch import nn

# Its top-k looks at the whole sequence.
TOLD = ("not usable for generation",)


class Depth(nn.Module):
    def __init__(self):
        super().__init__()
        self.router, self.block, self.capacity, self.steps = nn.Linear(32, 1), Block(), 0.125, 0

    def forward(self, x_BTD):
        if self.training:
            self.steps += 1
            self.capacity = 0.125 + (1 - 0.125) / self.steps
        k = max(1, int(self.capacity * x_BTD.shape[1]))
        score_Bk, place_Bk = self.router(x_BTD)[..., 0].topk(k, dim=1)
        place_BkD = place_Bk.sort(1).values[..., None].expand(-1, -1, x_BTD.shape[-1])
        y_BkD = self.block(x_BTD.gather(1, place_BkD)) * score_Bk.sigmoid()[..., None]
        return torch.scatter_add(x_BTD, 1, place_BkD, y_BkD)


def build(config):
    model = Plain(config)
    model.blocks[1], model.blocks[2] = Depth(), Depth()
    return model
