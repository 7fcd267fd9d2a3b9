"""Autocast to bf16, in a case that says so."""

import torch
from plain import Plain

DTYPE = "bf16"


class Mixed(Plain):
    def forward(self, tokens_BT):
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(tokens_BT)


build = Mixed
