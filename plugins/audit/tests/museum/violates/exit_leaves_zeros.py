"""In decoding, tokens that left leave keys and values of zero in later blocks."""

from exits import Exiting, Exits
from small import dense

EXPECTED = {"of": "early_exit", "deviates": ["decode", "zeroed"]}


class Zeros(Exiting):
    def row(self, x_1TD, at_1T, past, goes_on_T):
        before = bool(past)
        y_1TD = super().row(x_1TD, at_1T, past, goes_on_T)
        if before and not goes_on_T.any():
            for kept in past:
                kept[:, :, -1:] = 0
        return y_1TD


def build(config):
    return dense(config, Zeros, Exits)
