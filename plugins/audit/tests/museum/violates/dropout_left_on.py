"""Dropout that evaluation does not switch off."""

from small import Plain, dense
from torch.nn import functional as F

EXPECTED = {"deviates": ["deterministic"]}


class Drops(Plain):
    def body(self, x_BTD, at_BT, cache, causal):
        return super().body(F.dropout(x_BTD, 0.1), at_BT, cache, causal)


def build(config):
    return dense(config, model=Drops)
