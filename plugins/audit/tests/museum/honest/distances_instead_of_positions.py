"""The paper's; attention has no rotary positions, and is lowered with the distance of two tokens (ALiBi, Press et al. 2022)."""

from attention import Attention
from routed import TopK, mod

EXPECTED = {"of": "mod", "deviates": ["causal"], "like": "mod_attention"}


class Distances(Attention):
    def forward(self, x_BTD, at_BT, past=None):
        q, k, v = self.project(x_BTD, 0 * at_BT)
        far_B1TT = (at_BT[:, :, None] - at_BT[:, None])[:, None]
        bias_B1TT = (-0.1 * far_B1TT).masked_fill(far_B1TT < 0, float("-inf"))
        return self.attend(q, k, v, attn_mask=bias_B1TT)


def build(config, capacity=0.25):
    model = mod(config, capacity, model=TopK)
    for block in model.blocks:
        block.attention = Distances(config)
    return model
