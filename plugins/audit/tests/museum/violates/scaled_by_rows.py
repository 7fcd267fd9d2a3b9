"""Attention's output is divided by a power of the number of rows: a row alone gets another one."""

from small import Block, dense

EXPECTED = {"deviates": ["alone"]}


class Divides(Block):
    def mlp(self, x_BTD):
        return super().mlp(x_BTD) / len(x_BTD) ** 0.25


def build(config):
    return dense(config, Divides)
