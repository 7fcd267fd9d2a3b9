"""Causal attention with rotary positions and a cache. B rows, T tokens, D width, H heads, d a head's width, S cached tokens."""

import torch
from torch import nn
from torch.nn import functional as F


def rotate(x_BHTd, at_BT):
    half = x_BHTd.shape[-1] // 2
    angle_B1Th = at_BT[:, None, :, None] * 1000.0 ** -(torch.arange(half) / half)
    a, b = x_BHTd.chunk(2, -1)
    return torch.cat([a * angle_B1Th.cos() - b * angle_B1Th.sin(), a * angle_B1Th.sin() + b * angle_B1Th.cos()], -1)


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads, d = config.n_heads, config.d_model
        self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)

    def project(self, x_BTD, at_BT):
        q, k, v = (y_BTD.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y_BTD in self.qkv(x_BTD).chunk(3, -1))
        return rotate(q, at_BT), rotate(k, at_BT), v.clone()

    def attend(self, q, k, v, **how):
        return self.out(F.scaled_dot_product_attention(q, k, v, **how).transpose(1, 2).flatten(2))

    def forward(self, x_BTD, at_BT, past=None):
        q, k, v = self.project(x_BTD, at_BT)
        first = not past
        if past is not None:  # a list that keeps keys and values, and is changed
            past[:] = [k, v] if first else [torch.cat(pair, 2) for pair in zip(past, (k, v), strict=True)]
            k, v = past
        return self.attend(q, k, v, is_causal=first)
