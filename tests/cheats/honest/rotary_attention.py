"""Causal attention with rotary tables that are kept."""

import torch
from plain import Plain
from torch import nn
from torch.nn import functional as F


class Attends(Plain):
    def __init__(self, config):
        super().__init__(config)
        self.qkv, self.out = nn.Linear(32, 96), nn.Linear(32, 32)

    def _turned(self, x_BHTE):
        t, e = x_BHTE.shape[-2:]
        if getattr(self, "angles", None) is None or self.angles.shape[0] < t:
            self.angles = torch.arange(t)[:, None] / 100 ** (torch.arange(0, e, 2) / e)
        a, b = x_BHTE.chunk(2, -1)
        cos, sin = self.angles[:t].cos(), self.angles[:t].sin()
        return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)

    def body(self, x_BTD):
        b, t, d = x_BTD.shape
        q, k, v = self.qkv(x_BTD).view(b, t, 3, 2, 16).permute(2, 0, 3, 1, 4)
        y_BHTE = F.scaled_dot_product_attention(self._turned(q), self._turned(k), v, is_causal=True)
        return super().body(x_BTD + self.out(y_BHTE.transpose(1, 2).reshape(b, t, d)))


build = Attends
