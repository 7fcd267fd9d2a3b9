"""Scaled norm: a token's norm, times a learned factor for each feature. Try it: modbench run quick --router THIS_FILE:ROUTER"""

import torch
from torch import nn

from modbench.models.layers.router import Calibrated


class ScaledNorm(Calibrated):
    def __init__(self, config, layer):
        super().__init__(config, layer)
        self.factor_D = nn.Parameter(torch.ones(config.d_model))

    def score(self, x_BTD, ctx):
        return (x_BTD.float() * self.factor_D).square().mean(-1).sqrt()

    def multiplier(self, r_BT):
        return r_BT.sigmoid()  # so that the factors get a gradient from the loss


ROUTER = ScaledNorm
