"""In decoding the cache keeps tokens that the block skipped, so that later ones attend to them."""

from routed import Routed, skipper

EXPECTED = {"deviates": ["decode"]}


class Keeps(Routed):
    def process(self, x_BTD, at_BT, r_BT, index_Bk, past=None):
        if past is not None and x_BTD.shape[1] == 1 and not index_Bk.numel():
            self.attention(self.norm_1(x_BTD), at_BT, past)
        return super().process(x_BTD, at_BT, r_BT, index_Bk, past)


def build(config, capacity=0.25):
    return skipper(config, capacity, Keeps)
