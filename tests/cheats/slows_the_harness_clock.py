"""Reaches into the harness and slows its own clock, which the kernel's shows."""

import time

from plain import Plain

CAUGHT = "clock was changed"
WORK_S, WORKING_CALLS = 0.05, 12


def build(config):
    from modbench.harness.timing import interleave

    read = time.perf_counter
    interleave.Clock.wall_s = lambda _self: read() / 2
    return Sleeps(config)


class Sleeps(Plain):
    def forward(self, tokens_BT):
        if self.calls < WORKING_CALLS:
            time.sleep(WORK_S)  # the timing must be long enough for two clocks to part
        return super().forward(tokens_BT)
