"""Spectral norm: a power iteration beside every product in training mode."""

from plain import Plain
from torch.nn.utils.parametrizations import spectral_norm


def build(config):
    model = Plain(config)
    for block in model.blocks:
        spectral_norm(block.up)
    return model
