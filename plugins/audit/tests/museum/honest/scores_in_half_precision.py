"""Scores are rounded to bfloat16, so that many of them are equal, and a token on the threshold may fall on either side."""

import torch
from routed import Routed, skipper

EXPECTED = {"deviates": [], "like": "alone"}


class Rounds(Routed):
    def score(self, x_BTD):
        return super().score(x_BTD).to(torch.bfloat16).to(x_BTD.dtype)


def build(config, capacity=0.25):
    return skipper(config, capacity, Rounds)
