"""Computes every token in every block, and drops with `where` what was to be skipped."""

import torch
from masks import Masked
from routed import skipper

EXPECTED = {"deviates": [], "shows": ["zeroed"]}


class Drops(Masked):
    def drop(self, x_BTD, f_BTD, chosen_BT):
        return torch.where(chosen_BT[..., None], x_BTD + f_BTD, x_BTD)


def build(config, capacity=0.25):
    return skipper(config, capacity, Drops)
