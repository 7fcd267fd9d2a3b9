"""An activation with a gradient of its own."""

import torch
from plain import Plain


class Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return (8 * x).round() / 8

    @staticmethod
    def backward(ctx, grad):
        return grad


class Straight(Plain):
    def body(self, x_BTD):
        return super().body(Rounded.apply(x_BTD))


build = Straight
