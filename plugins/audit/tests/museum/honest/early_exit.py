"""Tokens leave early, one by one; their keys and values are kept for those that go on."""

from exits import Exiting, Exits
from small import dense

EXPECTED = {"of": "early_exit", "deviates": [], "like": "exit_layers"}


def build(config):
    return dense(config, Exiting, Exits)
