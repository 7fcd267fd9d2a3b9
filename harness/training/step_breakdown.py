"""Where the seconds of training go: by the host's clock on a CPU, by CUDA events on a GPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from modbench.harness.process import clocks


@dataclass
class Spent:
    """Seconds of training by part; `outside` is the remainder: data, logging, bookkeeping.

    On a GPU calls return before their work is done, so a part lasts from the event before it to the event after it: the device's
    work, and its waits for the host inside. It is known only after `settle`.

    Attributes:
        on_gpu: whether parts are timed by events.
        seconds: by part.
        whole: of all steps.
    """

    on_gpu: bool = False
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("forward", "backward", "optimizer"), 0.0))
    whole: float = 0.0
    _open: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = field(default_factory=list)

    @contextlib.contextmanager
    def on(self, what: str) -> Iterator[None]:
        """Add the time of what runs inside to `what`."""
        if self.on_gpu:
            start = event()
            yield
            self._open.append((what, start, event()))
            return
        began = clocks.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] += clocks.perf_counter() - began

    def settle(self) -> None:
        """Read the events, all of which must have happened."""
        for what, start, end in self._open:
            self.seconds[what] += start.elapsed_time(end) / 1e3
        self._open.clear()

    @property
    def outside(self) -> float:
        """Seconds of the steps that were neither forward, backward nor optimizer."""
        return self.whole - sum(self.seconds.values())


def event() -> torch.cuda.Event:
    """A moment in the work of the current stream."""
    made = torch.cuda.Event(enable_timing=True)
    made.record()
    return made
