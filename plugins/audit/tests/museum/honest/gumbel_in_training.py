"""Adds Gumbel noise to its scores in training alone."""

import torch
from routed import Routed, skipper

EXPECTED = {"deviates": [], "like": "deterministic", "shows": ["training"]}


class Draws(Routed):
    def passes(self, r_BT):
        noise_BT = -(-torch.rand_like(r_BT).clamp(min=1e-6).log()).log() if self.training else 0.0
        return super().passes(r_BT + noise_BT)


def build(config, capacity=0.25):
    return skipper(config, capacity, Draws)
