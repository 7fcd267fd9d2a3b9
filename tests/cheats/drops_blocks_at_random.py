"""Stochastic depth. It is no cheat, but its training step runs fewer FLOPs than its forward pass says, so it is told."""

import torch
from plain import Plain

CAUGHT = "computes less in training"


class Stochastic(Plain):
    def body(self, x_BTD):
        for block in self.blocks:
            if not self.training or torch.rand(()) < 0.5:
                x_BTD = block(x_BTD)
        return x_BTD


build = Stochastic
