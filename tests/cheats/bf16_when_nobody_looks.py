"""Multiplies in bf16 only from its twelfth call on, when counting is over."""

import torch
from plain import Plain

CAUGHT = "computes in another precision"


class Later(Plain):
    def forward(self, tokens_BT):
        with torch.autocast("cpu", torch.bfloat16, enabled=self.calls > 12):
            return super().forward(tokens_BT).float()


build = Later
