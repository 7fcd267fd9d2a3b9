"""In decoding the cache keeps tokens that the block skipped, for later ones; what they attend to themselves is dropped."""

from routed import Routed, skipper

EXPECTED = {"deviates": ["decode"], "shows": ["zeroed"]}


class Keeps(Routed):
    def process(self, x_BTD, at_BT, r_BT, index_Bk, past=None):
        if past is not None and x_BTD.shape[1] == 1 and not index_Bk.numel():
            self.attention(self.norm_1(x_BTD), at_BT, past)
        return super().process(x_BTD, at_BT, r_BT, index_Bk, past)


def build(config, capacity=0.25):
    return skipper(config, capacity, Keeps)
