"""Dropout in training alone."""

from small import Block, dense
from torch import nn

EXPECTED = {"deviates": [], "like": "training"}


class Drops(Block):
    def __init__(self, config):
        super().__init__(config)
        self.drop = nn.Dropout(0.2)

    def f(self, x_BTD, at_BT, past=None):
        return self.drop(super().f(x_BTD, at_BT, past))


def build(config):
    return dense(config, Drops)
