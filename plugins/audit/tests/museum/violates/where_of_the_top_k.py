"""The paper's in what it returns; every token is computed, and `where` drops what was not chosen."""

import torch
from masks import Masked
from routed import mod

EXPECTED = {"of": "mod", "deviates": ["skips", "zeroed", "saves", "causal"]}


class Drops(Masked):
    def drop(self, x_BTD, f_BTD, chosen_BT):
        return torch.where(chosen_BT[..., None], x_BTD + f_BTD, x_BTD)


def build(config, capacity=0.25):
    return mod(config, capacity, Drops)
