"""The paper's MoD, whose k follows the real length of each padded row."""

import torch
from routed import Routed, mod
from small import Plain

EXPECTED = {"of": "mod", "deviates": ["causal"], "like": "alone"}


class Real(Routed):
    lengths_B = None

    def forward(self, x_BTD, at_BT, cache=None, causal=True):
        if self.lengths_B is None:
            return super().forward(x_BTD, at_BT, cache, causal=False)
        rows = []
        for b, n in enumerate(self.lengths_B.tolist()):
            x_1nD, r_1n = x_BTD[b : b + 1, :n], self.score(x_BTD[b : b + 1, :n])
            y_1nD = self.process(x_1nD, at_BT[b : b + 1, :n], r_1n, self.top_k(r_1n))
            rows.append(torch.cat([y_1nD, x_BTD[b : b + 1, n:]], 1))
        return torch.cat(rows)


class Lengths(Plain):
    def forward(self, tokens_BT, lengths_B=None):
        for block in self.blocks[1::2]:
            block.lengths_B = lengths_B
        return self.run(tokens_BT)


def build(config, capacity=0.25):
    return mod(config, capacity, Real, Lengths)
