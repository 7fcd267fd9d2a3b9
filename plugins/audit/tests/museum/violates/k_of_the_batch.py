"""Takes the best tokens of the whole batch, so that one row has more of them than another."""

import torch
from routed import Routed, mod

EXPECTED = {"of": "mod", "deviates": ["causal", "rows_independent", "mod_k"]}


class Pooled(Routed):
    def forward(self, x_BTD, at_BT, cache=None, causal=True):
        if causal:
            return super().forward(x_BTD, at_BT, cache, causal)
        r_BT = self.score(x_BTD)
        mask_BT = torch.zeros_like(r_BT, dtype=torch.bool)
        mask_BT.flatten()[r_BT.flatten().topk(self.k(r_BT.numel())).indices] = True
        rows = [slice(b, b + 1) for b in range(len(r_BT))]
        each = (self.process(x_BTD[b], at_BT[b], r_BT[b], mask_BT[b][0].nonzero().T) for b in rows)
        return torch.cat(list(each))


def build(config, capacity=0.25):
    return mod(config, capacity, Pooled)
