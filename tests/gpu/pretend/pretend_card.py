"""A pretend card for whole processes: what is placed on `cuda` stays on the CPU, and torch.cuda answers as if there were one.

Unlike the fake of the unit tests its clock is real: calls compute what they would on a card, at a CPU's speed. Times of a
rehearsal mean nothing; that every line of a first day runs does.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

GIB = 2**30


class OnCpu(TorchFunctionMode):
    """Sends what is asked of a CUDA device to the CPU."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Replace a CUDA device among the arguments."""
        args = tuple(_on_cpu(each) for each in args)
        return func(*args, **{name: _on_cpu(each) for name, each in (kwargs or {}).items()})


def _on_cpu(value: Any) -> Any:
    on_card = (isinstance(value, str) and value.startswith("cuda")) or (
        isinstance(value, torch.device) and value.type == "cuda"
    )
    return "cpu" if on_card else value


def install() -> None:
    """Put the card in place, for as long as this process lives."""
    contextlib.ExitStack().enter_context(OnCpu())  # first: modbench keeps the modes with which its process started
    from fake_cuda import FakeCuda

    class LiveCuda(FakeCuda):
        """The fake device with a real clock."""

        @property
        def host(self) -> float:
            return time.perf_counter()

        @host.setter
        def host(self, _value: float) -> None:
            """A real clock is not set."""

        def process(self, device_s: float, host_s: float = 1e-5, stream: str | None = None) -> None:
            """Spin: later events are as much later."""
            del host_s, stream
            self.spun += device_s

        spun = 0.0

    class Event:
        """An event behind all spins so far, which has not come yet when it is asked at once."""

        def __init__(self, *, enable_timing: bool = False) -> None:
            assert enable_timing
            self.at = 0.0

        def record(self) -> None:
            self.at = card.host + card.spun

        def query(self) -> bool:
            return card.host >= self.at

        def synchronize(self) -> None:
            """What was launched has been computed."""

        def elapsed_time(self, other: Event) -> float:
            return (other.at - self.at) * 1e3

    patch, card = pytest.MonkeyPatch(), LiveCuda()
    card.peak = GIB
    card.install_driver(patch)
    for name, value in {
        "Event": Event,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda _device: None,
        "get_device_name": lambda *_: "Pretend H100",
        "get_device_capability": lambda *_: (9, 0),
        "mem_get_info": lambda *_: (70 * GIB, 80 * GIB),
        "memory_reserved": lambda *_: GIB,
        "set_per_process_memory_fraction": lambda *_: None,
        "get_rng_state": lambda *_: torch.get_rng_state(),
        "set_rng_state": lambda *_: None,
        "manual_seed_all": lambda _seed: None,
        "is_bf16_supported": lambda *_, **__: True,
        "is_current_stream_capturing": lambda: False,
    }.items():
        patch.setattr(torch.cuda, name, value, raising=False)
    # A CUDA build without a driver would otherwise ask for the compiled call's stream.
    patch.setattr(torch.accelerator, "is_available", lambda: False)
    patch.setattr(torch.Tensor, "pin_memory", lambda tensor, *_: tensor)
    # Tracing without generating code: what cannot be compiled as one graph is still found.
    patch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    _shrink()


def _shrink() -> None:
    """Make what is sized for a card small enough for a CPU."""
    from modbench.commands.doctor import aa_comparisons
    from modbench.harness.call import machine_peak

    aa_comparisons.AA_CONTROLS["cuda"] = aa_comparisons.AA_CONTROLS["cpu"]
    machine_peak.SHAPES["cuda"] = ((128, 256, 1024),)
    machine_peak.COPY_BYTES["cuda"] = 2**20
