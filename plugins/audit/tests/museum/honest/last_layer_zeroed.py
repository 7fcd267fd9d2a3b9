"""The output projections of attention and MLP start at 0, as in many recipes: a block adds exact zeros."""

from small import dense
from torch import nn

EXPECTED = {"deviates": [], "like": "zeroed"}


def build(config):
    model = dense(config)
    for weight in (model.blocks[0].attention.out.weight, model.blocks[0].down.weight, model.blocks[0].down.bias):
        nn.init.zeros_(weight)
    return model
