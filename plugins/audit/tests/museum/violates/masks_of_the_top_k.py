"""The paper's in what it returns; every token is computed, and multiplied by 0 where it was not chosen."""

from masks import Masked
from routed import mod

EXPECTED = {"of": "mod", "deviates": ["skips", "zeroed", "saves", "causal"]}


class Multiplies(Masked):
    def drop(self, x_BTD, f_BTD, chosen_BT):
        return x_BTD + chosen_BT[..., None].to(f_BTD.dtype) * f_BTD


def build(config, capacity=0.25):
    return mod(config, capacity, Multiplies)
