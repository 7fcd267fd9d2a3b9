"""Runs all blocks, and takes of each token the stream after the block at which it would have left."""

import torch
from exits import Gated
from small import dense

EXPECTED = {"of": "early_exit", "deviates": ["zeroed", "exit_layers"]}


class Afterwards(Gated):
    def body(self, x_BTD, at_BT, cache, causal):
        streams, left = [], []
        for block, gate in zip(self.blocks, [*self.gates, None], strict=True):
            x_BTD = block(x_BTD, at_BT)
            streams.append(x_BTD)
            left.append(torch.ones_like(left[-1]) if gate is None else gate(x_BTD)[..., 0] > 0)
        first_BT = torch.stack(left).int().argmax(0)
        return torch.stack(streams).gather(0, first_BT[None, ..., None].expand(1, *x_BTD.shape))[0]


def build(config):
    return dense(config, model=Afterwards)
