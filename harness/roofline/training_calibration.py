"""The ratio of measured to predicted training time on a machine, from its last run; stored beside its peaks by shape.

Predictions add up what each operator takes alone. Steps of small models take about twice as long.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from modbench.harness.core import user_folders
from modbench.harness.core.files import write_atomically
from modbench.harness.core.frozen import Frozen

# Shorter training tells more about its start than about its steps.
LEAST_S = 5.0


class Pace(Frozen):
    """Ratios of measured to predicted training time.

    Attributes:
        ratios: by the power of ten of a training step's FLOPs.
    """

    ratios: Mapping[int, float] = {}

    def of(self, flops: float) -> float:
        """The ratio for a step of so many FLOPs: that of the nearest size; 1 if none is known."""
        if not self.ratios:
            return 1.0
        size = size_of(flops)
        return self.ratios[min(self.ratios, key=lambda each: abs(each - size))]

    def with_fastest(self, flops: float, ratio: float) -> Pace:
        """Add a training run. Of each size the smallest ratio is kept: that run was disturbed least."""
        size = size_of(flops)
        return Pace(ratios={**self.ratios, size: min(ratio, self.ratios.get(size, math.inf))})


def size_of(flops: float) -> int:
    """The power of ten of a step's FLOPs."""
    return round(math.log10(max(1.0, flops)))


def keep(machine: str, dtype: str, pace: Pace) -> None:
    """Keep what a run found, in place of what earlier ones found at these sizes; nothing happens where it cannot be written.

    Args:
        machine: the fingerprint of machine, device and threads (`machine/certificate.py`).
        dtype: number format.
        pace: what was found.
    """
    ratios = {**latest(machine, dtype).ratios, **pace.ratios}
    with contextlib.suppress(OSError, RuntimeError):
        file = _file(machine, dtype)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, Pace(ratios=ratios).model_dump_json())


def latest(machine: str, dtype: str) -> Pace:
    """What the last runs of a machine found; empty if none did."""
    try:
        return Pace.model_validate_json(_file(machine, dtype).read_text(encoding="utf-8"))
    except (OSError, RuntimeError, ValidationError):
        return Pace()


def _file(machine: str, dtype: str) -> Path:
    return user_folders.state() / "pace" / f"{machine}-{dtype}.json"
