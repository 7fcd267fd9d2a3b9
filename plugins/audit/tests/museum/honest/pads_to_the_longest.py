"""Rows with fewer chosen tokens are filled up to the longest of the batch; what is computed there is set to 0."""

import torch
from routed import Routed, skipper
from small import Plain

EXPECTED = {"deviates": [], "like": "zeroed"}


class Padded(Routed):
    def forward(self, x_BTD, at_BT, cache=None, causal=True):
        r_BT = self.score(x_BTD)
        mask_BT = self.passes(r_BT)
        count_B = mask_BT.sum(1)
        index_Bk = mask_BT.int().argsort(dim=1, descending=True, stable=True)[:, : int(count_B.max())]
        if not index_Bk.numel():
            return x_BTD
        valid_Bk1 = (torch.arange(index_Bk.shape[1]) < count_B[:, None])[..., None]
        wide_BkD = index_Bk[..., None].expand(-1, -1, x_BTD.shape[-1])
        f_BkD = self.f(x_BTD.gather(1, wide_BkD), at_BT.gather(1, index_Bk))
        f_BkD = (r_BT.gather(1, index_Bk)[..., None] * f_BkD).masked_fill(~valid_Bk1, 0.0)
        return x_BTD.scatter_add(1, wide_BkD, f_BkD)


def build(config, capacity=0.25):
    return skipper(config, capacity, Padded, Plain)
