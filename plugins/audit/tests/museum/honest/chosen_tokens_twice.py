"""A routed block runs twice, with the same weights, on the tokens that it chose."""

from routed import Routed, skipper
from small import Plain

EXPECTED = {"deviates": [], "like": "skips"}


class Twice(Routed):
    def f(self, x_BTD, at_BT, past=None):
        y_BTD = super().f(x_BTD, at_BT)
        return y_BTD + super().f(x_BTD + y_BTD, at_BT)


def build(config, capacity=0.25):
    return skipper(config, capacity, Twice, Plain)
