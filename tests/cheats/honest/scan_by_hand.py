"""A linear recurrence in a Python loop, as a state-space model has."""

import torch
from plain import Plain
from torch import nn


class Scans(Plain):
    def __init__(self, config):
        super().__init__(config)
        self.decay, self.into = nn.Parameter(torch.zeros(32)), nn.Linear(32, 32)

    def body(self, x_BTD):
        state_BD, states = torch.zeros_like(x_BTD[:, 0]), []
        for u_BD in self.into(x_BTD).unbind(1):
            state_BD = state_BD * self.decay.sigmoid() + u_BD
            states.append(state_BD)
        return super().body(x_BTD + torch.stack(states, 1))


build = Scans
