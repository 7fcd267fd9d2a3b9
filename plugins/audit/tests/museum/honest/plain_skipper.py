"""Every second block processes tokens whose score is above a threshold."""

from routed import skipper

EXPECTED = {"deviates": []}


def build(config, capacity=0.25):
    return skipper(config, capacity)
