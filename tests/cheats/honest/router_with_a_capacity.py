"""Its router, a module of its own, carries the capacity and scores all tokens; the block computes the first quarter of them."""

from plain import Block, Plain
from torch import nn


class Router(nn.Module):
    def __init__(self):
        super().__init__()
        self.capacity, self.score = 0.25, nn.Linear(32, 1)

    def forward(self, x_BTD):
        return self.score(x_BTD).sigmoid()


class Routed(nn.Module):
    def __init__(self):
        super().__init__()
        self.router, self.block = Router(), Block()

    def forward(self, x_BTD):
        k = int(self.router.capacity * x_BTD.shape[1])
        weight_BT1 = self.router(x_BTD)
        changed_BTD = x_BTD.clone()
        changed_BTD[:, :k] = self.block(x_BTD[:, :k]) * weight_BT1[:, :k]
        return changed_BTD


class Routes(Plain):
    def __init__(self, config):
        super().__init__(config)
        self.blocks[1] = Routed()


build = Routes
