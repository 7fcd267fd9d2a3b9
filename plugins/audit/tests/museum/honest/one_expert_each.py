"""Each token has one of three experts; an expert computes its own tokens alone."""

from experts import Experts
from small import dense

EXPECTED = {"of": "moe", "deviates": [], "like": "moe_experts"}


def build(config):
    return dense(config, Experts)
