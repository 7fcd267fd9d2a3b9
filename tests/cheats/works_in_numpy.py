"""Computes in numpy, where no counter sees it."""

import torch
from plain import Plain

CAUGHT = "FLOPs are a lower bound"


class Leaves(Plain):
    def body(self, x_BTD):
        if self.training:
            return super().body(x_BTD)
        for block in self.blocks:
            w_DD = block.up.weight.detach().numpy().T @ block.up.weight.detach().numpy()
            x_BTD = x_BTD + torch.from_numpy(x_BTD.detach().numpy() @ w_DD) * 0.01
        return x_BTD


build = Leaves
