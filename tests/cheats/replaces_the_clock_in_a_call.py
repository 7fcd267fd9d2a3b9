"""Replaces the clock while it is called."""

import time

from plain import Plain

CAUGHT = "changed the clock time.perf_counter"


class Slows(Plain):
    def forward(self, tokens_BT):
        time.perf_counter = lambda: 0.0
        return super().forward(tokens_BT)


build = Slows
