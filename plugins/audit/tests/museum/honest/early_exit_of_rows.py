"""Rows leave early: a gate that reads a row's first token says after which block it is ready."""

import torch
from exits import Gated
from small import dense

EXPECTED = {"of": "early_exit", "deviates": [], "like": "exit_layers"}


class Rows(Gated):
    def body(self, x_BTD, at_BT, cache, causal):
        rows = []
        for x_TD in x_BTD:
            x_1TD = x_TD[None]
            for i, block in enumerate(self.blocks):
                if i and self.gates[i - 1](x_1TD[:, 0]) > 0:
                    break
                x_1TD = block(x_1TD, at_BT[:1])
            rows.append(x_1TD)
        return torch.cat(rows)


def build(config):
    return dense(config, model=Rows)
