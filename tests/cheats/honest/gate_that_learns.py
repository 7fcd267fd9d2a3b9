"""A gate decides on whole inputs how many blocks run, and training moves it."""

from plain import Plain
from torch import nn


class Gated(Plain):
    def __init__(self, config):
        super().__init__(config)
        self.gate = nn.Linear(32, 1)

    def forward(self, tokens_BT):
        x_BTD = self.embedding(tokens_BT)
        score = self.gate(x_BTD[:, 0]).sigmoid().mean()
        for block in self.blocks[: 2 + (2 if float(score.detach()) > 0.5 else 0)]:
            x_BTD = x_BTD + score * (block(x_BTD) - x_BTD)
        return self.head(x_BTD)


build = Gated
