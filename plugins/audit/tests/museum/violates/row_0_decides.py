"""The first row decides which tokens of all rows a block processes."""

from routed import Routed, skipper

EXPECTED = {"deviates": ["rows_independent"]}


class Follows(Routed):
    def passes(self, r_BT):
        return super().passes(r_BT)[:1].expand_as(r_BT)


def build(config, capacity=0.25):
    return skipper(config, capacity, Follows)
