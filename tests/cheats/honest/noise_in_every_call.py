"""Adds a little noise to its activations, in evaluation mode too."""

import torch
from plain import Plain


class Noisy(Plain):
    def body(self, x_BTD):
        return super().body(x_BTD + 1e-4 * torch.randn_like(x_BTD))


build = Noisy
