"""Noise of a generator that torch's seed does not reach: in one of its blocks, in evaluation too."""

import numpy as np
import torch
from small import Block, Plain, dense

EXPECTED = {"deviates": ["deterministic"]}
RANDOM = np.random.default_rng(0)


class Noisy(Block):
    def mlp(self, x_BTD):
        return super().mlp(x_BTD) * torch.from_numpy(RANDOM.uniform(0.9, 1.1, (*x_BTD.shape[:2], 1))).to(x_BTD.dtype)


def build(config):
    model = dense(config, model=Plain)
    model.blocks[0] = Noisy(config)
    return model
