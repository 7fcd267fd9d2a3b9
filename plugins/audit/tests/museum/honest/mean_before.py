"""Adds to each token the mean of the tokens up to it."""

import torch
from small import Plain, dense

EXPECTED = {"deviates": [], "like": "causal"}


class Averages(Plain):
    def body(self, x_BTD, at_BT, cache, causal):
        count_T1 = torch.arange(1.0, x_BTD.shape[1] + 1)[:, None]
        return super().body(x_BTD + x_BTD.cumsum(1) / count_T1, at_BT, cache, causal)


def build(config):
    return dense(config, model=Averages)
