"""Every token reads a hundredth of the next one; the last reads none."""

from small import Plain, dense
from torch.nn import functional as F

EXPECTED = {"deviates": ["causal"]}


class Shifts(Plain):
    def body(self, x_BTD, at_BT, cache, causal):
        return super().body(x_BTD + 0.01 * F.pad(x_BTD[:, 1:], (0, 0, 0, 1)), at_BT, cache, causal)


def build(config):
    return dense(config, model=Shifts)
