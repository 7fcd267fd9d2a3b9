"""Each token has one of three experts or of three no-ops, which compute nothing."""

from experts import NoOps
from small import dense

EXPECTED = {"of": "mode", "deviates": [], "like": "moe_experts"}


def build(config):
    return dense(config, NoOps)
