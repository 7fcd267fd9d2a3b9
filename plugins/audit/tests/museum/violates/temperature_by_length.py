"""Scores of attention are scaled with the logarithm of the batch's length, padding included."""

import math

from attention import Attention
from small import Block, Plain, dense

EXPECTED = {"deviates": ["alone"]}


class Sharpens(Attention):
    def attend(self, q, k, v, **how):
        return super().attend(q * math.log(k.shape[2] + 1.0), k, v, **how)


class Sharp(Block):
    def __init__(self, config):
        super().__init__(config)
        self.attention = Sharpens(config)


def build(config):
    return dense(config, Sharp, Plain)
