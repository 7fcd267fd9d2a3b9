"""Every weight is a direction times a length, computed at each call."""

from plain import Plain
from torch.nn.utils.parametrizations import weight_norm


def build(config):
    model = Plain(config)
    for block in model.blocks:
        weight_norm(block.up)
        weight_norm(block.down)
    return model
