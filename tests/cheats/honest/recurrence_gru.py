"""A GRU between the blocks."""

from plain import Plain
from torch import nn


class Recurrent(Plain):
    def __init__(self, config):
        super().__init__(config)
        self.recurrence = nn.GRU(32, 32, batch_first=True)

    def body(self, x_BTD):
        return super().body(x_BTD + self.recurrence(x_BTD)[0])


build = Recurrent
