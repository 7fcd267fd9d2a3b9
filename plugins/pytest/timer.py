"""A timer for pytest-benchmark: `--benchmark-timer=modbench.plugins.pytest.timer.wall_s`."""

from __future__ import annotations

import sys

from modbench.extend import clocks


def wall_s() -> float:
    """Seconds of a monotonic clock, read once the GPU is idle, where this process uses one.

    pytest-benchmark reads its timer before and after each round. Its own does not wait for a GPU: it times how long
    the work takes to be launched. Code that replaces `time.perf_counter` later does not move this clock.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return clocks.perf_counter()
