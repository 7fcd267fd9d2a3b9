"""Device-side timing on CUDA: events behind a spin kernel, and the replay of a captured graph.

Three named timings, never mixed between variants: end to end (host clock, device idle before and after), `device` (events on the
current stream) and `graph` (one launch for the whole pass). Where the device is busy for less than 70 % of the end-to-end time,
the host cannot launch fast enough, and saved FLOPs do not show. The L2 cache is warm in all three: whole models run back
to back, as in use. A graph is captured after a warm-up on a side stream and a check that nothing waits for the host.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from statistics import median
from typing import Any, TypeVar

import torch
from torch import Tensor

from modbench.harness.call.timing import host_sync
from modbench.harness.core.errors import Unmeasured, in_short
from modbench.harness.machine.process import clocks
from modbench.harness.machine.process.graceful_stop import DeviceLost
from modbench.harness.stats.noise import escape_limit

L2_POLICY = "warm: whole models run back to back"
# The spin takes half as long again as the host's launching: events must time the device, not the host.
HEADROOM = 1.5
# Largest spin, in multiples of the first: longer does not help a model that waits for the device.
LONGEST = 8
WARM_UP = 3
# Calls, of five, that must not have been starved for a share of the device to be given.
LEAST_FED = 3
T = TypeVar("T")


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

    The spin's length is found once: one that changed between samples would look like a variant that was not warm.

    Args:
        call: what is timed; starts its work on the current stream.
        example: input for calibration.

    Raises:
        Unmeasured: if every launch waits for its kernel, so that no spin helps.
    """

    def __init__(self, call: Callable[[Tensor], object], example: Tensor) -> None:
        if os.environ.get("CUDA_LAUNCH_BLOCKING", "0") not in {"", "0"}:
            raise Unmeasured("CUDA_LAUNCH_BLOCKING is set: every launch waits, so events time the host; unset it")
        self.call, self.cycles = call, 0
        for _ in range(WARM_UP):
            call(example)
        torch.cuda.synchronize()
        launching = max(self._process_s(example) for _ in range(WARM_UP))
        first = self.cycles = int(HEADROOM * launching * _cycles_per_s())
        while self(example)["starved"]:
            self.cycles *= 2
            if self.cycles > LONGEST * first:  # it waits for the device, or fills the launch queue, behind any spin
                self.cycles = first
                break

    def _process_s(self, example: Tensor) -> float:
        start = clocks.perf_counter()
        self.call(example)
        spent = clocks.perf_counter() - start
        torch.cuda.synchronize()
        return spent

    def __call__(self, tokens_BT: Tensor) -> dict[str, float]:
        """Time one call: `device/wall_s`, `starved` (0 or 1) and `escaped_s`."""
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(self.cycles)  # noqa: SLF001  # torch's own spin kernel
        start.record()
        self.call(tokens_BT)
        starved = start.query()  # the spin ended before all work was queued
        end.record()
        end.synchronize()
        ended = clocks.perf_counter()
        torch.cuda.synchronize()
        seconds = start.elapsed_time(end) / 1e3
        return {"device/wall_s": seconds, "starved": float(starved), "escaped_s": clocks.perf_counter() - ended}


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
        Unmeasured: if the call waits for the host, or its shapes depend on the input.
        DeviceLost: if the capture fails for another reason.
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
        `device_s` (median), `device_share` (None where too few calls were not starved), and the shares of calls that were
        `starved` or had work that `escaped` the stream.
    """
    timer = DeviceTimer(call, example)
    made = [timer(example) for _ in range(5)]
    fed = [each for each in made if not each["starved"]]  # on a starved device, events include the host's time
    enough = len(fed) >= LEAST_FED
    seconds = median(each["device/wall_s"] for each in (fed if enough else made))
    starved = sum(each["starved"] for each in made) / len(made)
    return {
        "device_s": seconds,
        "device_share": seconds / end_to_end_s if enough else None,
        "starved": starved,
        "escaped": sum(each["escaped_s"] > escape_limit(seconds) for each in made) / len(made),
    }


def capture(call: Callable[[], T], before: Callable[[], object] = lambda: None) -> tuple[Any, T]:
    """Capture a call; returns the graph and the call's result, which every replay overwrites.

    A failed capture leaves torch's allocator as if it were still capturing, which would harm the other variants. So the last
    warm-up call must not wait for the host; only then is the call captured, and if that fails, the process has to end.

    Args:
        call: reads its input from memory that stays in place.
        before: called before each warm-up call and before the capture.

    Raises:
        Unmeasured: if the call waits for the host.
        DeviceLost: if the capture fails for another reason.
    """
    side, here = torch.cuda.Stream(), torch.cuda.current_stream()
    side.wait_stream(here)
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            before()
            call()
        before()
        _unwaiting(call)
    here.wait_stream(side)
    before()
    graph = torch.cuda.CUDAGraph()
    collects = gc.isenabled()
    gc.collect()
    gc.disable()  # freeing another graph or event meanwhile would break the capture
    try:
        with torch.cuda.graph(graph):
            out = call()
    except (Exception, SystemExit) as error:
        said = f"{type(error).__name__}: {in_short(error)}"
        raise DeviceLost(f"the capture of a CUDA graph failed and left the allocator undefined: {said}") from error
    finally:
        if collects:
            gc.enable()
    return graph, out


def _unwaiting(call: Callable[[], object]) -> None:
    """Call once; raises if it waits for the host, by an operator, a copy, or a wait that it asks for by name."""
    try:
        with host_sync.sync_debug("error"), host_sync.explicit(_refuse, queries=True):
            call()
    except RuntimeError as error:
        raise Unmeasured(f"cannot be captured as a CUDA graph (it waits for the host): {in_short(error)}") from error


def _refuse(name: str) -> None:
    raise RuntimeError(f"it called {name}")
