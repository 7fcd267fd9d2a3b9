"""Tokens that chose a no-op are computed by the first expert, and multiplied by 0."""

from experts import NoOps
from small import dense

# In a decode step all tokens may meet the first expert, which is then a weight that spares none.
EXPECTED = {"of": "mode", "deviates": ["moe_experts"], "may": ["zeroed"]}


class Computed(NoOps):
    def of_experts(self, x_ND, weight_N, expert_N):
        real_N = expert_N < self.n_experts
        y_ND = super().of_experts(x_ND, weight_N, expert_N.where(real_N, 0))
        return y_ND * real_N[:, None]


def build(config):
    return dense(config, Computed)
