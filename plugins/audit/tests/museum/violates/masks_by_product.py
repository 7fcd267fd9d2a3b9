"""Computes every token in every block, and multiplies by 0 where one was to be skipped."""

from masks import Masked
from routed import skipper

EXPECTED = {"deviates": [], "shows": ["zeroed"]}


class Multiplies(Masked):
    def drop(self, x_BTD, f_BTD, chosen_BT):
        return x_BTD + chosen_BT[..., None].to(f_BTD.dtype) * f_BTD


def build(config, capacity=0.25):
    return skipper(config, capacity, Multiplies)
