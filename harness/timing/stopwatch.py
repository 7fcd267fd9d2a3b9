"""A stopwatch with which a call times its own parts."""

from __future__ import annotations

import math

from modbench.harness.timing.interleave import Clock, Laps


class Stopwatch:
    """Measures laps of wall and CPU time, with the device idle at the end of each."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.laps = clock, dict[str, float]()
        clock.synchronize()
        self.last = (clock.wall_s(), clock.cpu_s())

    def lap(self, name: str) -> None:
        """End a lap, as columns `NAME/wall_s` and `NAME/cpu_s`."""
        self.clock.synchronize()
        now = (self.clock.wall_s(), self.clock.cpu_s())
        self.laps[f"{name}/wall_s"], self.laps[f"{name}/cpu_s"] = now[0] - self.last[0], now[1] - self.last[1]
        self.last = now

    def quantiles(self, wanted: dict[str, float]) -> Laps:
        """Quantiles over all laps (nearest rank), of wall and CPU time separately."""
        found = {}
        for column in ("wall_s", "cpu_s"):
            ordered = sorted(seconds for name, seconds in self.laps.items() if name.endswith(column))
            for name, share in wanted.items():
                found[f"{name}/{column}"] = ordered[max(0, math.ceil(share * len(ordered)) - 1)]
        return found
