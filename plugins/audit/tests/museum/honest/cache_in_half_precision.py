"""Keeps keys and values of the chosen tokens in bfloat16, over a sequence as in decoding."""

import torch
from attention import Attention
from routed import Routed, skipper

EXPECTED = {"deviates": [], "like": "saves"}


class Rounded(Attention):
    def project(self, x_BTD, at_BT):
        q, k, v = super().project(x_BTD, at_BT)
        return q, k.to(torch.bfloat16), v.to(torch.bfloat16)

    def attend(self, q, k, v, **how):
        return super().attend(q, k.to(q.dtype), v.to(q.dtype), **how)


class Half(Routed):
    def __init__(self, config, share):
        super().__init__(config, share)
        self.attention = Rounded(config)


def build(config, capacity=0.25):
    return skipper(config, capacity, Half)
