"""Each call in training moves the threshold by which tokens pass."""

import torch
from routed import Routed, skipper

EXPECTED = {"deviates": [], "shows": ["training"]}


class Moves(Routed):
    def __init__(self, config, share):
        super().__init__(config, share)
        self.register_buffer("moving", torch.tensor(self.threshold))

    def passes(self, r_BT):
        if self.training:
            self.moving.lerp_(r_BT.detach().flatten().quantile(1 - self.share), 0.3)
        return r_BT > self.moving


def build(config, capacity=0.25):
    return skipper(config, capacity, Moves)
