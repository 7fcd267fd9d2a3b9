"""Entropy: routes the tokens whose activations are spread over the most features; nothing is learned."""

from modbench.extend import Calibrated


class Entropy(Calibrated):
    def score(self, x_BTD, ctx):
        p_BTD = x_BTD.float().square()
        p_BTD = p_BTD / p_BTD.sum(-1, keepdim=True).clamp(min=1e-12)
        return -(p_BTD * p_BTD.clamp(min=1e-12).log()).sum(-1)


ROUTER = Entropy
