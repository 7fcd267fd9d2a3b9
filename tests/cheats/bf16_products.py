"""Multiplies in bf16 in a case of fp32."""

import torch
from plain import Plain

CAUGHT = "computes in another precision"


class Narrow(Plain):
    def forward(self, tokens_BT):
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(tokens_BT).float()


build = Narrow
