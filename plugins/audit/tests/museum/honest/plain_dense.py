"""Dense: nothing is routed."""

from small import dense

EXPECTED = {"deviates": []}


def build(config):
    return dense(config)
