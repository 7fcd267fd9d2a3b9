"""Takes the lengths of padded rows, and counts padding when it computes k of its real tokens."""

import torch
from routed import Routed, mod
from small import Plain

EXPECTED = {"of": "mod", "deviates": ["causal", "alone"]}


class Padded(Routed):
    def top_k(self, r_BT):
        real_BT = (
            torch.ones_like(r_BT) if self.lengths_B is None else torch.arange(r_BT.shape[1]) < self.lengths_B[:, None]
        )
        return super().top_k(r_BT.masked_fill(real_BT == 0, -torch.inf))


class Lengths(Plain):
    def forward(self, tokens_BT, lengths_B=None):
        for block in self.blocks[1::2]:
            block.lengths_B = lengths_B
        return self.run(tokens_BT, causal=False)


def build(config, capacity=0.25):
    return mod(config, capacity, Padded, Lengths)
