"""The paper's; embeddings are doubled before the first block."""

from routed import MoD, mod

EXPECTED = {"of": "mod", "deviates": ["causal"], "like": "mod_stream"}


class Doubled(MoD):
    def body(self, x_BTD, at_BT, cache, causal):
        return super().body(2.0 * x_BTD, at_BT, cache, causal)


def build(config, capacity=0.25):
    return mod(config, capacity, model=Doubled)
