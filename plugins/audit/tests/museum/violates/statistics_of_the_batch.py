"""Subtracts from each token a tenth of the mean of the tokens at its position in all rows, in evaluation too."""

from small import Dense, dense

EXPECTED = {"deviates": ["rows_independent"]}


class Centres(Dense):
    def body(self, x_BTD, at_BT, cache, causal):
        return super().body(x_BTD - 0.1 * x_BTD.mean(0), at_BT, cache, causal)


def build(config):
    return dense(config, model=Centres)
