"""The first router decides for all routed blocks; its score multiplies in each."""

from routed import MoD, Routed, mod

EXPECTED = {"of": "mod", "deviates": ["causal", "mod_routers"]}


class Follows(Routed):
    def score(self, x_BTD):
        if self.router is not None:
            self.last[:] = [super().score(x_BTD)]
        return self.last[0]


class Once(MoD):
    def __init__(self, config, blocks):
        super().__init__(config, blocks)
        scores = []
        for block in self.blocks[1::2]:
            block.last = scores
        for block in self.blocks[3::2]:
            block.router = None


def build(config, capacity=0.25):
    return mod(config, capacity, Follows, Once)
