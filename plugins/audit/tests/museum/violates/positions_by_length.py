"""Positions are shares of the length of the batch: padding on the right moves all of them."""

from small import Plain, dense

EXPECTED = {"deviates": ["alone"]}


class Stretches(Plain):
    def body(self, x_BTD, at_BT, cache, causal):
        return super().body(x_BTD, at_BT * (64.0 / at_BT.shape[1]), cache, causal)


def build(config):
    return dense(config, model=Stretches)
