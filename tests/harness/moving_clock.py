"""A clock that only callables move."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from modbench.harness.call.timing.interleave import Clock


class FakeClock(Clock):
    """Time passes only when a callable says so.

    Attributes:
        synchronized: how often it was waited for the device, where there is one.
    """

    def __init__(self, *, on_device: bool = False) -> None:
        super().__init__(self._note if on_device else None)
        self.now, self.synchronized = 0.0, 0
        self.cpu_s = lambda: self.now

    def _note(self) -> None:
        self.synchronized += 1

    def wall_s(self) -> float:
        return self.now

    def takes(self, seconds: float, noise: float = 0.0, seed: int = 0, drift: float = 0.0) -> Callable[[], object]:
        rng = random.Random(seed)

        def call() -> dict[str, str]:
            self.now += seconds * math.exp(rng.gauss(0, noise)) * (1 + drift * self.now)
            return {"logits": "a mapping, as transformers' models return"}

        return call
