"""Plants the golden of combinations, for `tests/goldens/plant.py`."""

from __future__ import annotations

from pathlib import Path

from test_combine import CONVOLUTION
from test_combine import planted as planted_combination


def combine(folder: Path) -> None:
    """Plant two combinations of two effects: times below the product, or equal to it by CPU time; losses that add up."""
    planted_combination(folder, waits=CONVOLUTION)
