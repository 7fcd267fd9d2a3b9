"""Computes every token in every block, and fills with 0 in place where one was to be skipped."""

from masks import Masked
from routed import skipper

EXPECTED = {"deviates": [], "shows": ["zeroed"]}


class Fills(Masked):
    def drop(self, x_BTD, f_BTD, chosen_BT):
        return x_BTD + f_BTD.masked_fill(~chosen_BT[..., None], 0.0)


def build(config, capacity=0.25):
    return skipper(config, capacity, Fills)
