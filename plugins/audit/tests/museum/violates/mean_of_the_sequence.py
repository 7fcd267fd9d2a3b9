"""Adds the mean of all tokens of the sequence to each of them."""

from small import Plain, dense

EXPECTED = {"deviates": ["causal"]}


class Pools(Plain):
    def body(self, x_BTD, at_BT, cache, causal):
        return super().body(x_BTD + 0.1 * x_BTD.mean(1, keepdim=True), at_BT, cache, causal)


def build(config):
    return dense(config, model=Pools)
