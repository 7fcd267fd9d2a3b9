"""The paper's; in training each routed block is computed again in the backward pass."""

from routed import Routed, mod
from torch.utils.checkpoint import checkpoint

EXPECTED = {"of": "mod", "deviates": ["causal"], "like": "training"}


class Again(Routed):
    def f(self, x_BTD, at_BT, past=None):
        if self.training and past is None:
            return checkpoint(super().f, x_BTD, at_BT, use_reentrant=False)
        return super().f(x_BTD, at_BT, past)


def build(config, capacity=0.25):
    return mod(config, capacity, Again)
