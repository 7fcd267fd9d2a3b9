"""Registers a buffer in its first call, so that its state before and after differs."""

import torch
from plain import Plain


class Registers(Plain):
    def body(self, x_BTD):
        if not hasattr(self, "scale"):
            self.register_buffer("scale", torch.ones(x_BTD.shape[-1]), persistent=True)
        return super().body(x_BTD * self.scale)


build = Registers
