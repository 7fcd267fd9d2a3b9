"""Device-side timing on CUDA: events behind a spin kernel, and the replay of a captured graph.

Three named timings, never mixed between arms: end to end (host clock, device idle before and after), `device` (events on the
current stream) and `graph` (one launch for the whole pass). Where the device is busy for less than 70 % of the end-to-end time,
the host cannot launch fast enough, and saved FLOPs do not show. The L2 cache is warm in all three: whole models run back
to back, as in use.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor

from modbench.harness.core.errors import Unmeasured
from modbench.harness.stats.stream_escape import escape_limit
from modbench.harness.timing.cuda_graph import capture

L2_POLICY = "warm: whole models run back to back"
# The spin takes half as long again as the host's launching: events must time the device, not the host.
HEADROOM = 1.5
# Largest spin, in multiples of the first: longer does not help a model that waits for the device.
LONGEST = 8
WARM_UP = 3


def require(device: str) -> None:
    """Reject a device timing without a CUDA device.

    Raises:
        Unmeasured: on a CPU.
    """
    if device != "cuda":
        raise Unmeasured("device events and graphs need a CUDA device")


class DeviceTimer:
    """Times a call by CUDA events.

    The start event is recorded behind a spin kernel, so that all work is queued before it fires (as nvbench does). Every
    sample records whether the spin was too short (`starved`) and how long the device worked after the current stream had ended
    (`escaped_s`: work on another stream, which events do not see).

    Args:
        call: what is timed; launches its work on the current stream.
        example: input for calibration.
    """

    def __init__(self, call: Callable[[Tensor], object], example: Tensor) -> None:
        self.call, self.cycles = call, 0
        for _ in range(WARM_UP):
            call(example)
        torch.cuda.synchronize()
        launching = max(self._launch_s(example) for _ in range(WARM_UP))
        self.cycles = int(HEADROOM * launching * _cycles_per_s())
        self.most = LONGEST * self.cycles

    def _launch_s(self, example: Tensor) -> float:
        start = time.perf_counter()
        self.call(example)
        spent = time.perf_counter() - start
        torch.cuda.synchronize()
        return spent

    def __call__(self, tokens_BT: Tensor) -> dict[str, float]:
        """Time one call: `device/wall_s`, `starved` (0 or 1) and `escaped_s`."""
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(self.cycles)  # noqa: SLF001  # torch's own spin kernel
        start.record()
        self.call(tokens_BT)
        starved = start.query()  # the spin ended before all work was queued: the next one is longer
        if starved:
            self.cycles = min(2 * self.cycles, self.most)
        end.record()
        end.synchronize()
        ended = time.perf_counter()
        torch.cuda.synchronize()
        seconds = start.elapsed_time(end) / 1e3
        return {"device/wall_s": seconds, "starved": float(starved), "escaped_s": time.perf_counter() - ended}


def _cycles_per_s() -> float:
    """Spin cycles per second: the most of three spins of known length, after one that loads the kernel and raises the clock."""
    cycles, rates = 10_000_000, []
    for _ in range(4):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        torch.cuda._sleep(cycles)  # noqa: SLF001  # as above
        end.record()
        end.synchronize()
        rates.append(cycles / (start.elapsed_time(end) / 1e3))
    return float(max(rates[1:]))


class GraphTimer:
    """Replays a call as one CUDA graph, captured once on a static input.

    Args:
        call: what is captured.
        example: gives the input's shape.

    Raises:
        Unmeasured: if the call cannot be captured: it waits for the host, or its shapes depend on the input.
    """

    def __init__(self, call: Callable[[Tensor], object], example: Tensor) -> None:
        self.input = example.clone()
        self.graph, _ = capture(lambda: call(self.input))

    def __call__(self, tokens_BT: Tensor) -> None:
        """Replay once on the given tokens."""
        self.input.copy_(tokens_BT)
        self.graph.replay()


def device_share(call: Callable[[Tensor], object], example: Tensor, end_to_end_s: float) -> dict[str, Any]:
    """Share of an end-to-end time in which the device was busy, from a few calls of its own.

    Returns:
        `device_s` (median), `device_share` (None where the device was starved), and the shares of calls that were `starved` or
        had work that `escaped` the stream.
    """
    timer = DeviceTimer(call, example)
    made = [timer(example) for _ in range(5)]
    seconds = median(each["device/wall_s"] for each in made)
    starved = sum(each["starved"] for each in made) / len(made)
    return {
        "device_s": seconds,
        # On a starved device, events include the host's time.
        "device_share": None if starved else seconds / end_to_end_s,
        "starved": starved,
        "escaped": sum(each["escaped_s"] > escape_limit(seconds) for each in made) / len(made),
    }
