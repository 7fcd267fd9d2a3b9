"""Draws random numbers in training mode."""

from plain import Plain
from torch import nn


def build(config):
    model = Plain(config)
    model.blocks = nn.ModuleList([nn.Sequential(block, nn.Dropout(0.2)) for block in model.blocks])
    return model
