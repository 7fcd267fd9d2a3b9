"""In training k falls from all tokens to the capacity, a little in every call."""

from routed import Routed, mod

EXPECTED = {"of": "mod", "deviates": ["causal"], "shows": ["training"]}


class Falls(Routed):
    now = 1.0

    def k(self, t):
        if self.training:
            self.now = max(self.share, 0.8 * self.now)
            return max(1, int(self.now * t))
        return super().k(t)


def build(config, capacity=0.25):
    return mod(config, capacity, Falls)
