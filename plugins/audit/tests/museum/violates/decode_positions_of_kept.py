"""In decoding a routed block counts positions by the tokens that it kept, not by those that were read."""

import torch
from routed import Routed, skipper

EXPECTED = {"deviates": ["decode"]}


class Counts(Routed):
    def f(self, x_BTD, at_BT, past=None):
        if past:
            at_BT = torch.full_like(at_BT, past[0].shape[2])
        return super().f(x_BTD, at_BT, past)


def build(config, capacity=0.25):
    return skipper(config, capacity, Counts)
