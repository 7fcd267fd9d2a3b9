"""What the pieces change: residual MLPs between an embedding and a head. No token reads another, so it is causal.

A piece is called with a configuration, as what a user's file names is. `mistake` and `honest` say what a run must say of it.
"""

import torch
from torch import nn
from torch.nn import functional as F

WIDTH, LAYERS = 32, 4


class Block(nn.Module):
    """One residual MLP."""

    def __init__(self, width=WIDTH):
        super().__init__()
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x_BTD):
        return x_BTD + self.down(F.gelu(self.up(x_BTD)))


class Plain(nn.Module):
    """An embedding, blocks, a head; in some layers another block."""

    width, others = WIDTH, {}

    def __init__(self, config):
        super().__init__()
        width = self.width
        self.embedding, self.head = nn.Embedding(config.vocab_size, width), nn.Linear(width, config.vocab_size)
        self.blocks = nn.ModuleList([self.others.get(layer, Block)(width) for layer in range(LAYERS)])

    def body(self, x_BTD):
        for block in self.blocks:
            x_BTD = block(x_BTD)
        return x_BTD

    def forward(self, tokens_BT):
        return self.head(self.body(self.embedding(tokens_BT)))


def mask(t, share):
    """Which tokens a module says that it processes: the first ones."""
    return (torch.arange(t) < int(t * share))[:, None]


def mistake(caught):
    """A piece that does something wrong, and by which label, or which words of a failure, it is found."""

    def said(piece):
        piece.caught = caught
        return piece

    return said


def honest(*told, dtype="fp32", trains=False):
    """A piece of an odd kind that nothing accuses.

    Args:
        told: labels that are true of it without accusing it.
        dtype: of its case.
        trains: whether its training is more than its forward pass and the gradient; proofs train the others too.
    """

    def said(piece):
        piece.told, piece.dtype, piece.trains = set(told), dtype, trains
        return piece

    return said
