"""An LSTM between the blocks; what runs of it on a CPU has no formula."""

from plain import Plain
from torch import nn

# One fused operator: its FLOPs are unknown, and the count says that it is a lower bound.
TOLD = ("FLOPs are a lower bound",)


class Recurrent(Plain):
    def __init__(self, config):
        super().__init__(config)
        self.recurrence = nn.LSTM(32, 32, batch_first=True)

    def body(self, x_BTD):
        return super().body(x_BTD + self.recurrence(x_BTD)[0])


build = Recurrent
