"""A gate whose own loss holds it at its threshold: inputs that one training step computes, the next one skips."""

import torch
from plain import Plain
from torch import nn

# The gate reads the whole sequence.
TOLD = ("not usable for generation",)


class Hovers(Plain):
    def __init__(self, config):
        super().__init__(config)
        self.gate, self.loss = nn.Linear(32, 1, bias=False), None
        with torch.no_grad():
            self.gate.weight *= 0.1

    def forward(self, tokens_BT):
        x_BTD = self.embedding(tokens_BT)
        score = self.gate(x_BTD).mean()
        self.loss = 100 * score.square()
        return self.head(x_BTD + score * self.body(x_BTD) if float(score.detach()) > 0 else x_BTD)

    def aux_loss(self):
        return self.loss


build = Hovers
