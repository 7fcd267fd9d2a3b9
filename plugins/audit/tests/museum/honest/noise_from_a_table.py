"""Adds vectors that were drawn once, when the model was built, to the token at each position."""

import torch
from small import Dense, dense

EXPECTED = {"deviates": [], "like": "deterministic"}


class Table(Dense):
    def __init__(self, config, blocks):
        super().__init__(config, blocks)
        self.register_buffer("noise_PD", 0.1 * torch.randn(4096, config.d_model))

    def body(self, x_BTD, at_BT, cache, causal):
        return super().body(x_BTD + self.noise_PD[at_BT], at_BT, cache, causal)


def build(config):
    return dense(config, model=Table)
