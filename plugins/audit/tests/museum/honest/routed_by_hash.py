"""A hash of the token decides which routed blocks process it: it looks random, and is the same in every call."""

from routed import Routed, skipper
from small import Dense

EXPECTED = {"deviates": [], "like": "deterministic"}


class Hashed(Routed):
    def passes(self, r_BT):
        return self.passing_BT


class Hashes(Dense):
    def run(self, tokens_BT, cache=None, causal=True):
        for i, block in enumerate(self.blocks[1::2]):
            block.passing_BT = (tokens_BT * 2654435761 + 97 * i) % 1009 < 1009 * block.share
        return super().run(tokens_BT, cache, causal)


def build(config, capacity=0.25):
    return skipper(config, capacity, Hashed, Hashes)
