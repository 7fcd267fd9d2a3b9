"""Processes in which callables take planted times, and the disturbances of a busy machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moving_clock import FakeClock

from modbench.plugins.python.callables import TimingProcess, time_callables


def process(times: Mapping[str, float], noise: float = 0.01, seed: int = 0, **more: Any) -> TimingProcess:
    """One process in which each callable takes its time, with noise."""
    clock = FakeClock()
    calls = {name: clock.takes(at, noise, 100 * seed + i) for i, (name, at) in enumerate(times.items())}
    return time_callables(calls, clock=clock, seed=seed, **{"rounds": 20, **more})


def scatter(columns: dict[str, list[float]], slower: float, shift: int) -> None:
    """Let samples wait for a core: wall time scatters too much to tell anything, and CPU time says how much slower it is."""
    cpu = [0.01 * slower * (1 + i * 7 % 5 / 1000) for i in range(len(columns["wall_s"]))]
    columns["cpu_s"] = cpu
    columns["wall_s"] = [each * (1 + (i * 7919 + shift) % 13) for i, each in enumerate(cpu)]
    columns["wait_s"] = [0.9 * each for each in columns["wall_s"]]
    columns["others_s"] = columns["blocked_s"] = [0.0] * len(cpu)
