"""In decoding, tokens that left keep no keys and values in later blocks; over a sequence they have them."""

from exits import Exiting, Exits
from small import dense

EXPECTED = {"of": "early_exit", "deviates": ["decode"]}


class Forgets(Exiting):
    def row(self, x_1TD, at_1T, past, goes_on_T):
        if past and not goes_on_T.any():
            return x_1TD
        return super().row(x_1TD, at_1T, past, goes_on_T)


def build(config):
    return dense(config, Forgets, Exits)
