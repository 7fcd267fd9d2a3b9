"""Computes every token in every block, and takes only the chosen ones by their indices afterwards."""

from masks import Masked
from routed import skipper

EXPECTED = {"deviates": [], "shows": ["zeroed"]}


class Takes(Masked):
    def drop(self, x_BTD, f_BTD, chosen_BT):
        y_BTD = x_BTD.clone()
        y_BTD[chosen_BT] += f_BTD[chosen_BT]
        return y_BTD


def build(config, capacity=0.25):
    return skipper(config, capacity, Takes)
