"""What the pieces change: residual MLPs between an embedding and a head. No token reads another, so it is causal."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH, LAYERS = 32, 4


class Block(nn.Module):
    """One residual MLP."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD: Tensor = self.down(F.gelu(self.up(x_BTD)))
        return x_BTD + y_BTD


class Plain(nn.Module):
    """An embedding, blocks, a head."""

    def __init__(self, config: Any, width: int = WIDTH, layers: int = LAYERS) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(config.vocab_size, width), nn.Linear(width, config.vocab_size)
        self.blocks = nn.ModuleList([Block(width) for _ in range(layers)])
        self.calls = 0

    def body(self, x_BTD: Tensor) -> Tensor:
        for block in self.blocks:
            x_BTD = block(x_BTD)
        return x_BTD

    def forward(self, tokens_BT: Tensor) -> Tensor:
        self.calls += 1
        logits_BTV: Tensor = self.head(self.body(self.embedding(tokens_BT)))
        return logits_BTV


def mask(t: int, share: float) -> Tensor:
    """Which tokens a module says that it processes: the first ones."""
    return (torch.arange(t) < int(t * share))[:, None]
