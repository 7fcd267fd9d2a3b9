"""Divides by a root mean square over all tokens of a row, not over the width of each token."""

from small import Plain, dense

EXPECTED = {"deviates": ["causal"]}


class Normalises(Plain):
    def body(self, x_BTD, at_BT, cache, causal):
        return super().body(x_BTD / x_BTD.square().mean((1, 2), keepdim=True).sqrt(), at_BT, cache, causal)


def build(config):
    return dense(config, model=Normalises)
