"""Skips tokens, and drops numbers of what it computes of the others in training: of no token all."""

from routed import Routed, skipper
from torch.nn import functional as F

EXPECTED = {"deviates": [], "like": "zeroed"}


class Drops(Routed):
    def f(self, x_BkD, at_Bk, past=None):
        return F.dropout(super().f(F.dropout(x_BkD, 0.1, self.training), at_Bk, past), 0.2, self.training)


def build(config, capacity=0.25):
    return skipper(config, capacity, Drops)
