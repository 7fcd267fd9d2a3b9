"""Replaces the clock of Python by one that runs at half speed."""

import time

from plain import Plain

CAUGHT = "clock was changed"
real = time.perf_counter


def build(config):
    time.perf_counter = lambda: real() / 2
    return Plain(config)
