"""Normalises with statistics of batches in training, and with running ones in evaluation."""

from small import Dense, dense
from torch import nn

EXPECTED = {"deviates": [], "like": "rows_independent", "shows": ["training"]}


class Runs(Dense):
    def __init__(self, config, blocks):
        super().__init__(config, blocks)
        self.statistics = nn.BatchNorm1d(config.d_model)

    def body(self, x_BTD, at_BT, cache, causal):
        return super().body(self.statistics(x_BTD.mT).mT, at_BT, cache, causal)


def build(config):
    return dense(config, model=Runs)
