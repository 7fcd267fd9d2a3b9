"""A CUDA device without CUDA: streams that fill up in virtual time, events, graphs and an allocator."""

from __future__ import annotations

import contextlib
import types
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from modbench.harness.call.subject import build, subject
from modbench.harness.call.timing import cuda_events, interleave
from modbench.harness.machine import counter_sampler

CYCLES_PER_S = 1e9


class FakeCuda:
    """Host and streams in virtual seconds.

    Attributes:
        host: the host's clock.
        busy: when each stream will have done what was launched on it.
        current: the stream that processes go to.
        log: what torch.cuda was asked, in order.
        lost: what every wait raises from now on, as after an assertion in a kernel; empty: the device works.
    """

    def __init__(self) -> None:
        self.host = 0.0
        self.busy = {"main": 0.0, "side": 0.0}
        self.current = "main"
        self.log: list[str] = []
        self.stats: dict[str, int] = {}
        self.peak = 0
        self.sync_mode = 0
        self.warned = False
        self.lost = ""

    def launch(self, device_s: float, host_s: float = 1e-5, stream: str | None = None) -> None:
        """Queue work: the host is busy for a moment, the stream for longer."""
        self.host += host_s
        name = stream or self.current
        self.busy[name] = max(self.host, self.busy[name]) + device_s

    def sleep(self, seconds: float) -> None:
        self.host += seconds

    def synchronize(self) -> None:
        self.log.append("synchronize")
        if self.lost:
            raise RuntimeError(self.lost)
        self.host = max(self.host, *self.busy.values())

    def wait(self) -> None:
        """What a model does that reads a value from the device."""
        if self.sync_mode == 2:
            raise RuntimeError("called a synchronizing CUDA operation")
        self.host = max(self.host, *self.busy.values())

    def set_sync_mode(self, mode: int | str) -> None:
        warn, self.warned = not self.warned, True
        self.sync_mode = {"default": 0, "warn": 1, "error": 2}.get(str(mode), mode if isinstance(mode, int) else 0)
        if warn:  # as torch does, after the mode is set
            warnings.warn("Synchronization debug mode is a prototype feature", stacklevel=2)

    def install(self, patch: pytest.MonkeyPatch) -> FakeCuda:
        """Put it in torch.cuda's place, with a clock that stands still between processes; tensors stay where they are."""
        self.install_driver(patch)
        clock = types.SimpleNamespace(
            perf_counter=lambda: self.host, thread_time=lambda: self.host, process_time=lambda: self.host
        )
        patch.setattr(cuda_events, "clocks", clock)
        patch.setattr(interleave, "clocks", clock)
        # What happens to this process meanwhile is not the fake device's: a busy machine must not disturb its samples.
        patch.setattr(counter_sampler, "of_samples", lambda _threads, _collector: counter_sampler.CounterSampler({}))
        patch.setattr(counter_sampler, "of_blocks", lambda: counter_sampler.CounterSampler({}))
        patch.setattr(subject, "build_module", lambda case, seed, _device: build.build_module(case, seed))
        patch.setattr(torch.nn.Module, "to", lambda module, *_, **__: module)
        patch.setattr(torch.Tensor, "to", lambda tensor, *_, **__: tensor)
        return self

    def install_driver(self, patch: pytest.MonkeyPatch) -> None:
        """Put it in torch.cuda's place."""
        device = self

        class Event:
            def __init__(self, *, enable_timing: bool = False) -> None:
                assert enable_timing
                self.at = 0.0

            def record(self) -> None:
                self.at = max(device.host, device.busy[device.current])

            def query(self) -> bool:
                return device.host >= self.at

            def synchronize(self) -> None:
                device.host = max(device.host, self.at)

            def elapsed_time(self, other: Event) -> float:
                return (other.at - self.at) * 1e3

        Stream = _stream_of(device)

        class Graph:
            """Replays as one process of whatever the captured call launched."""

            seconds = 0.0

            def replay(self) -> None:
                device.log.append("replay")
                device.launch(self.seconds)

        @contextlib.contextmanager
        def capture(graph: Graph) -> Iterator[None]:
            device.log.append("capture")
            before = device.busy["main"], device.host
            device.busy["main"] = device.host
            yield
            graph.seconds = device.busy["main"] - before[1]
            device.busy["main"], device.host = before

        @contextlib.contextmanager
        def on(stream: Any) -> Iterator[None]:
            was, device.current = device.current, stream.name
            try:
                yield
            finally:
                device.current = was

        properties = types.SimpleNamespace(name="Fake H100", uuid="1", total_memory=80 * 2**30, major=9, minor=0)
        for name, value in {
            "synchronize": self.synchronize,
            "get_sync_debug_mode": lambda: self.sync_mode,
            "set_sync_debug_mode": self.set_sync_mode,
            "set_stream": lambda stream: setattr(self, "current", stream.name),
            "Event": Event,
            "Stream": Stream,
            "current_stream": lambda: Stream(self.current),
            "default_stream": lambda: Stream("main"),
            "current_device": lambda: 0,
            "is_initialized": lambda: True,
            "stream": on,
            "CUDAGraph": Graph,
            "graph": capture,
            "_sleep": lambda cycles: self.launch(cycles / CYCLES_PER_S, 0.0),
            "get_device_properties": lambda _index: properties,
            "empty_cache": lambda: self.log.append("empty"),
            "reset_peak_memory_stats": lambda: self.log.append("reset"),
            "max_memory_allocated": lambda: self._said("peak", self.peak),
            "max_memory_reserved": lambda: self._said("reserved", 2 * self.peak),
            "memory_allocated": lambda: self._said("allocated", self.peak // 2),
            "memory_stats": lambda: dict(self.stats),
        }.items():
            patch.setattr(torch.cuda, name, value, raising=False)

    def _said(self, name: str, value: int) -> int:
        self.log.append(name)
        return value


def _stream_of(device: FakeCuda) -> Any:
    """The class of the device's streams."""

    class Stream:
        def __init__(self, name: str = "side") -> None:
            self.name = name

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Stream) and other.name == self.name

        def __hash__(self) -> int:
            return hash(self.name)

        def wait_stream(self, _other: object) -> None:
            device.log.append("wait")

        def query(self) -> bool:
            return device.host >= device.busy[self.name]

        def synchronize(self) -> None:
            device.host = max(device.host, device.busy[self.name])

    return Stream
